"""Residual encoder and decoder."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, MapOptions, Norm

if TYPE_CHECKING:
    from torch import nn


class SegResNetOptions(MapOptions):
    """Residual encoder and decoder (Myronenko 2018; MONAI `SegResNet`); a map, 2D and 3D."""

    obstacle = "its blocks add in place, where Opacus can't follow"

    name: Literal["segresnet"]
    features: int = Field(16, ge=2, le=256, description="Features of the first of four levels; each doubles.")
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """Three of the four levels halve."""
        return 8

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        return 684 * ends.kernel * self.features**2

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import SegResNet

        return SegResNet(
            ends.dimensions,
            self.features,
            ends.channels,
            ends.outputs,
            dropout_prob=self.dropout or None,
            norm="batch",
        )
