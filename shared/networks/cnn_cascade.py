"""Cascades of small convolutional networks, one for each step of a reconstruction."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, NetworkOptions

if TYPE_CHECKING:
    from torch import nn


class CNNCascadeOptions(NetworkOptions):
    """A network of its own for each step: convolutions, leaky ReLU between them (Schlemper et al. 2018)."""

    gives = "steps"

    name: Literal["cnn-cascade"]
    stages: int = Field(5, ge=1, le=64, description="Networks, and steps of the reconstruction.")
    features: int = Field(32, ge=2, le=1024, description="Features of each layer but the last.")
    layers: int = Field(5, ge=2, le=64, description="Convolutions of each network.")

    @property
    def stride(self) -> int:
        """Nothing is halved."""
        return 1

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        inner = (self.layers - 2) * self.features**2
        return self.stages * ends.kernel * (self.features * (ends.channels + ends.outputs) + inner)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.reconstruction_modules import CNNCascade

        return CNNCascade(ends, self.stages, self.features, self.layers, self.dropout)
