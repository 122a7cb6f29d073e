"""U-Net with attention gates."""

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, Levels, MapOptions, Norm

if TYPE_CHECKING:
    from torch import nn


class AttentionUNetOptions(MapOptions):
    """U-Net with attention gates (Oktay et al. 2018; MONAI `AttentionUnet`); a map, 2D and 3D."""

    name: Literal["attention-unet"]
    channels: Levels = Field([16, 32, 64, 128, 256], min_length=2)
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return 2 ** (len(self.channels) - 1)

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        levels = [ends.channels, *self.channels]
        down = sum(a * b + b * b for a, b in pairwise(levels))
        up = sum(a * b + 2 * a * a for a, b in pairwise(self.channels))
        return ends.kernel * (down + up)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import AttentionUnet

        strides = [2] * (len(self.channels) - 1)
        return AttentionUnet(
            ends.dimensions, ends.channels, ends.outputs, self.channels, strides, dropout=self.dropout
        )
