"""SegNet."""

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, Levels, MapOptions, Norm

if TYPE_CHECKING:
    from torch import nn


class SegNetOptions(MapOptions):
    """SegNet, with two convolutions in each level (Badrinarayanan et al. 2017); a map, 2D and 3D."""

    name: Literal["segnet"]
    channels: Levels = Field([32, 64, 128, 256, 256], min_length=1)
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Each level halves."""
        return 2 ** len(self.channels)

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        down = sum(a * b + b * b for a, b in pairwise([ends.channels, *self.channels]))
        up = sum(a * b + b * b for a, b in pairwise([self.channels[0], *self.channels]))
        return ends.kernel * (down + up)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.map_modules import SegNet

        return SegNet(ends, self.channels, self.dropout)
