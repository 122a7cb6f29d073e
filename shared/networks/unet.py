"""The U-Net."""

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, Levels, MapOptions, Norm

if TYPE_CHECKING:
    from torch import nn


class UNetOptions(MapOptions):
    """U-Net with residual units (Kerfoot et al. 2019; MONAI `UNet`); a map, 2D and 3D."""

    name: Literal["unet"]
    channels: Levels = Field([16, 32, 64, 128, 256], min_length=2)
    num_res_units: int = Field(
        2, ge=0, le=8, description="Residual units of each level; 0 for plain convolutions."
    )
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return 2 ** (len(self.channels) - 1)

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        units, levels = self.num_res_units, [ends.channels, *self.channels]
        down = sum(a * b + max(units - 1, 0) * b * b for a, b in pairwise(levels))
        # The deepest shortcut is of one pixel.
        shortcuts = sum(a * b for a, b in pairwise(levels[:-1])) if units else 0
        joined = [*(2 * a for a in self.channels[:-2]), self.channels[-2] + self.channels[-1]]
        out = [ends.outputs, *self.channels[:-2]]
        up = sum(a * b + (units > 0) * b * b for a, b in zip(joined, out, strict=True))
        return ends.kernel * (down + shortcuts + up)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import UNet

        return UNet(
            ends.dimensions,
            ends.channels,
            ends.outputs,
            self.channels,
            strides=[2] * (len(self.channels) - 1),
            num_res_units=self.num_res_units,
            norm="batch",
            dropout=self.dropout,
        )
