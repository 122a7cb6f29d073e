"""A network that tells real images from drawn ones."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.networks.options import Ends, Levels, VectorOptions

if TYPE_CHECKING:
    from torch import nn


class DiscriminatorOptions(VectorOptions):
    """Convolutions of stride 2 without a norm (Radford et al. 2016, DCGAN); a vector per image, 2D and 3D.

    A norm would take from it how bright an image is, and batch norm whose image it is.
    """

    norm: ClassVar[str] = "none"

    name: Literal["discriminator"]
    channels: Levels = Field([32, 64, 128], min_length=1)

    @property
    def stride(self) -> int:
        """Each level halves."""
        return 2 ** len(self.channels)

    def size_problem(self, size: Sequence[int]) -> str | None:
        """See the base class; a single position is enough without a norm."""
        return None if min(size) >= self.stride else f"at least {self.stride} pixels along each axis"

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        levels = [ends.channels, *self.channels]
        return (
            float(4**ends.dimensions * sum(a * b for a, b in pairwise(levels)))
            + self.head(ends) * ends.outputs
        )

    def head(self, ends: Ends) -> int:
        """Return how many numbers the last layer sees."""
        positions = 1
        for pixels in ends.size:
            for _ in self.channels:
                pixels //= 2  # noqa: PLW2901
            positions *= pixels
        return positions * self.channels[-1]

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.layers.factories import Conv
        from torch import nn

        conv = Conv[Conv.CONV, ends.dimensions]
        layers: list[nn.Module] = []
        for before, after in pairwise([ends.channels, *self.channels]):
            layers += [
                conv(before, after, 4, stride=2, padding=1),
                nn.LeakyReLU(0.2),
                nn.Dropout(self.dropout),
            ]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(self.head(ends), ends.outputs))
