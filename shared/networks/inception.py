"""GoogLeNet."""

from typing import TYPE_CHECKING, Literal

from shared.networks.options import Ends, Norm, VectorOptions
from shared.networks.vgg import Width

if TYPE_CHECKING:
    from torch import nn


class InceptionOptions(VectorOptions):
    """GoogLeNet (Szegedy et al. 2015) with norms (Ioffe and Szegedy 2015); a vector per image, 2D and 3D."""

    name: Literal["inception"]
    width: Width = 1.0
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """The stem's convolution, its pooling and three stages."""
        return 32

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        stem = 7**ends.dimensions * 64 * self.width * ends.channels
        return stem + (5.9e6 if ends.dimensions == 2 else 14.5e6) * self.width**2

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.vector_modules import inception

        return inception(ends, self.width, self.dropout)
