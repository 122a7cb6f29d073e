"""A network that draws images from vectors."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, Levels, NetworkOptions, Norm

if TYPE_CHECKING:
    from torch import nn


class GeneratorOptions(NetworkOptions):
    """Doubles a small map to an image, level by level (Radford et al. 2016, DCGAN); an image from a vector.

    Levels are enlarged, then convolved: transposed convolutions leave a chessboard (Odena et al. 2016).
    """

    gives = "image"

    name: Literal["generator"]
    channels: Levels = Field([32, 64, 128], min_length=1)
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """Each level doubles."""
        return 2 ** len(self.channels)

    def size_problem(self, size: Sequence[int]) -> str | None:
        """See the base class; a single position is enough to begin with."""
        if all(pixels % self.stride == 0 for pixels in size):
            return None
        fitting = [-(-pixels // self.stride) * self.stride for pixels in size]
        return f"multiples of {self.stride} along each axis, such as {fitting}"

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        start = math.prod(pixels // self.stride for pixels in ends.size) * self.channels[-1]
        levels = [self.channels[0], *self.channels]
        widths = sum(a * b for a, b in pairwise(levels)) + self.channels[0] * ends.outputs
        return start * (ends.channels + 1) + ends.kernel * widths

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.modules import Generator

        return Generator(ends, self.channels, self.dropout)
