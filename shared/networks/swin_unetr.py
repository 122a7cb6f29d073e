"""Swin transformer as a U-Net."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, MapOptions, Norm

if TYPE_CHECKING:
    from torch import nn


class SwinUNETROptions(MapOptions):
    """Swin transformer as a U-Net (Hatamizadeh et al. 2022; MONAI `SwinUNETR`); a map, 2D and 3D."""

    obstacle = "its position biases belong to no layer, and Opacus sees layers only"

    name: Literal["swin-unetr"]
    features: int = Field(
        24, ge=12, le=192, multiple_of=12, description="Features of the first level; each doubles."
    )
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Patches of 2 pixels, then four stages that halve."""
        return 32

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        return (11_000 if ends.dimensions == 2 else 27_000) * self.features**2

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import SwinUNETR

        return SwinUNETR(
            ends.channels,
            ends.outputs,
            feature_size=self.features,
            norm_name="batch",
            drop_rate=self.dropout,
            spatial_dims=ends.dimensions,
        )
