"""Two paths at two scales."""

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, Levels, MapOptions, Norm

if TYPE_CHECKING:
    from torch import nn


class TwoPathsOptions(MapOptions):
    """Two paths at two scales (Kamnitsas et al. 2017, DeepMedic), without pooling; a map, 2D and 3D."""

    name: Literal["two-paths"]
    channels: Levels = Field(
        [30, 30, 40, 40, 40, 40, 50, 50], min_length=1, description="Of each convolution."
    )
    factor: int = Field(3, ge=2, le=16, description="By how much the second path's image is smaller.")
    hidden: int = Field(150, ge=2, le=2048, description="Features of the two layers that join the paths.")
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """The second path's image is smaller."""
        return self.factor

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        path = ends.kernel * sum(a * b for a, b in pairwise([ends.channels, *self.channels]))
        return 2 * path + self.hidden * (2 * self.channels[-1] + self.hidden + ends.outputs)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.map_modules import TwoPaths

        return TwoPaths(ends, self.channels, self.factor, self.hidden, self.dropout)
