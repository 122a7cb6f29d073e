"""Deep belief networks."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from shared.networks.options import Ends, VectorOptions

if TYPE_CHECKING:
    from torch import nn


class BeliefNetworkOptions(VectorOptions):
    """Layers of restricted Boltzmann machines, and a linear one (Hinton et al. 2006); a vector per image."""

    name: Literal["belief-network"]
    hidden: list[Annotated[int, Field(ge=1, le=8192)]] = Field(
        [256, 64],
        min_length=1,
        max_length=8,
        description="Units of each layer; one layer is a machine alone.",
    )

    @property
    def stride(self) -> int:
        """Each pixel is a unit."""
        return 1

    def size_problem(self, size: Sequence[int]) -> str | None:
        """Return None: any size has its own first layer."""
        return None

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        units = [ends.channels * math.prod(ends.size), *self.hidden]
        return sum((a + 1) * (b + 1) for a, b in pairwise([*units, ends.outputs]))

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.belief_module import BeliefNetwork

        return BeliefNetwork(ends, self.hidden, self.dropout)
