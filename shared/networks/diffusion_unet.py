"""The U-Net of diffusion models."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from shared.networks.options import Ends, NetworkOptions

if TYPE_CHECKING:
    from torch import nn

_GROUPS = 8  # of its norms, so that its features are multiples of 8
Features = Annotated[int, Field(ge=_GROUPS, le=2048, multiple_of=_GROUPS)]


class DiffusionUNetOptions(NetworkOptions):
    """U-Net whose blocks know how noisy an image is (Ho et al. 2020; MONAI `DiffusionModelUNet`).

    Attention joins the positions of the deepest level.
    """

    gives = "noise"

    name: Literal["diffusion-unet"]
    channels: list[Features] = Field(
        [32, 64, 64],
        min_length=2,
        max_length=8,
        description="Features of each level, multiples of 8; each but the first halves.",
    )
    blocks: int = Field(1, ge=1, le=8, description="Residual blocks of each level.")

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def divisor(self) -> int:
        """Every level must halve evenly."""
        return self.stride

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        levels, blocks = self.channels, self.blocks
        deepest, first = levels[-1], levels[0]
        down = sum(a * b + (2 * blocks - 1) * b * b for a, b in pairwise([first, *levels]))
        down += sum(b * b for b in levels[:-1])
        below = [*levels[1:], deepest]
        up = sum((a + b) * a + a * a + blocks * 3 * a * a for a, b in zip(levels, below, strict=True))
        up += sum(b * b for b in levels[1:])
        middle = 4 * deepest**2
        edges = first * (ends.channels + ends.outputs)
        linear = 4 * first * (first + 4 * first + 3 * sum(levels)) + 12 * deepest**2
        return ends.kernel * (down + up + middle + edges) + linear

    def size_problem(self, size: Sequence[int]) -> str | None:
        """See the base class; nothing is padded."""
        if any(pixels % self.stride for pixels in size):
            return f"multiples of {self.stride} pixels along each axis"
        return super().size_problem(size)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import DiffusionModelUNet

        from shared.networks.modules import Timed

        network = DiffusionModelUNet(
            ends.dimensions,
            ends.channels - 1,
            ends.outputs,
            num_res_blocks=self.blocks,
            channels=self.channels,
            attention_levels=[*[False] * (len(self.channels) - 1), True],
            norm_num_groups=_GROUPS,
            num_head_channels=self.channels[-1],
        )
        return Timed(network, ends.outputs)
