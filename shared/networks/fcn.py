"""Fully convolutional networks."""

from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from shared.networks.options import Ends, Levels, MapOptions, Norm

if TYPE_CHECKING:
    from torch import nn


class FCNOptions(MapOptions):
    """FCN-8s, with two convolutions in each level (Long et al. 2015); a map, 2D and 3D."""

    name: Literal["fcn"]
    channels: Levels = Field([32, 64, 128, 256, 256], min_length=2)
    skips: int = Field(
        2,
        ge=0,
        le=7,
        description="Levels above the deepest one that are added: 2 is FCN-8s, 1 FCN-16s, 0 FCN-32s.",
    )
    norm: Norm = "instance"

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if self.skips >= len(self.channels):
            raise ValueError(
                f"skips: {len(self.channels)} levels have {len(self.channels) - 1} above the deepest"
            )
        return self

    @property
    def stride(self) -> int:
        """Each level halves."""
        return 2 ** len(self.channels)

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        levels = sum(a * b + b * b for a, b in pairwise([ends.channels, *self.channels]))
        return ends.kernel * (levels + self.channels[-1] ** 2)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.map_modules import FCN

        return FCN(ends, self.channels, self.skips, self.dropout)
