"""Networks that were made for registration: VoxelMorph's U-Net, and GlobalNet."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, Levels, MapOptions, Norm, VectorOptions

if TYPE_CHECKING:
    from torch import nn

_FIRST = 1e-3  # deviation of the last weights as they are drawn


class VoxelMorphOptions(MapOptions):
    """The U-Net of VoxelMorph, without norms (Balakrishnan et al. 2019; MONAI `VoxelMorphUNet`); a map.

    Its last weights are drawn near 0, so that a registration begins with a field that hardly moves anything.
    """

    name: Literal["voxelmorph"]
    channels: Levels = Field([16, 32, 32, 32], min_length=2)
    last: Levels = Field([16, 16], min_length=1, description="Features of the convolutions at full size.")

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return 2 ** (len(self.channels) - 1)

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        down = sum(a * b for a, b in pairwise([ends.channels, *self.channels]))
        up = sum((a + b) * a for a, b in pairwise(self.channels))
        last = sum(a * b for a, b in pairwise([self.channels[0], *self.last, ends.outputs]))
        return ends.kernel * (down + up + last)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.blocks import Convolution
        from monai.networks.nets import VoxelMorphUNet
        from torch import nn

        model = VoxelMorphUNet(
            ends.dimensions,
            2,
            unet_out_channels=self.channels[0],
            channels=[features for pair in pairwise(self.channels) for features in pair],  # down, and up
            final_conv_channels=self.last,
            dropout=self.dropout,
        )
        seen = Convolution(ends.dimensions, ends.channels, self.channels[0], conv_only=True)
        model.net[0][0].conv = seen.conv  # MONAI's takes two images of one channel each, or pairs of more
        out = Convolution(ends.dimensions, self.last[-1], ends.outputs, conv_only=True)
        nn.init.normal_(out.conv.weight, std=_FIRST)
        nn.init.zeros_(out.conv.bias)
        model.net[-1].final_conv_out = out  # MONAI's gives as many numbers as there are axes
        return model


class GlobalNetOptions(VectorOptions):
    """Residual convolutions, and a dense layer that sees where things are; a vector per image, 2D and 3D.

    MONAI's `GlobalNet` (Hu et al. 2018), which makes a field of its matrix itself; here it gives the matrix.
    Its last weights are drawn near 0 (MONAI's are 0), so that a registration begins with a matrix that hardly
    moves anything.
    """

    name: Literal["globalnet"]
    features: int = Field(
        8, ge=2, le=512, description="Features of the first level; each further one doubles."
    )
    levels: int = Field(3, ge=1, le=7, description="Levels below the first, each of which halves.")
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return int(2**self.levels)

    def size_problem(self, size: Sequence[int]) -> str | None:
        """See the base class; nothing is padded."""
        if any(pixels % self.stride for pixels in size):
            return f"multiples of {self.stride} pixels along each axis"
        return super().size_problem(size)

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        levels = [self.features * 2**level for level in range(self.levels + 1)]
        within = sum(a * b + 2 * b * b for a, b in pairwise([ends.channels, *levels]))
        return ends.kernel * within + levels[-1] * self._positions(ends) * ends.outputs

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import GlobalNet

        from shared.networks.modules import DenseHead

        model = GlobalNet(ends.size, ends.dimensions, ends.channels, self.features, self.levels)
        inputs = self.features * self.stride * self._positions(ends)
        model.output_block = DenseHead(inputs, ends.outputs, self.dropout)
        return model

    def _positions(self, ends: Ends) -> int:
        return math.prod(pixels // self.stride for pixels in ends.size)
