"""Convolutions without levels, for noise."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, MapOptions, Norm

if TYPE_CHECKING:
    from torch import nn


class DnCNNOptions(MapOptions):
    """DnCNN (Zhang et al. 2017): convolutions at one size, norm and ReLU between them; a map, 2D and 3D."""

    name: Literal["dncnn"]
    features: int = Field(32, ge=2, le=1024, description="Features of each layer but the last.")
    layers: int = Field(
        8, ge=2, le=64, description="Convolutions; each lets a pixel see one further in each direction."
    )
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Nothing is halved."""
        return 1

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        inner = (self.layers - 2) * self.features**2
        return ends.kernel * (self.features * (ends.channels + ends.outputs) + inner)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.modules import DnCNN

        return DnCNN(ends, self.features, self.layers, self.dropout)
