"""A small convolutional network."""

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, Levels, Norm, VectorOptions

if TYPE_CHECKING:
    from torch import nn


class CNNOptions(VectorOptions):
    """Small LeNet-like CNN (LeCun et al. 1998); a vector per image, 2D and 3D."""

    name: Literal["cnn"]
    channels: Levels = Field([16, 32, 64], min_length=1)
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """Each level halves."""
        return 2 ** len(self.channels)

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        levels = [ends.channels, *self.channels]
        return ends.kernel * sum(a * b for a, b in pairwise(levels)) + levels[-1] * ends.outputs

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.modules import CNN

        return CNN(ends, self.channels, self.dropout)
