"""A network for the columns of a table."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from shared.networks.options import Ends, VectorOptions

if TYPE_CHECKING:
    from torch import nn


class MLPOptions(VectorOptions):
    """Fully connected layers (Rosenblatt 1958); a vector for the columns of a table."""

    dimensions: ClassVar[frozenset[int]] = frozenset({0})

    name: Literal["mlp"]
    hidden: list[Annotated[int, Field(ge=1, le=8192)]] = Field(
        [32],
        max_length=16,
        description="Features of each layer but the last; none makes a linear model.",
    )
    activation: Literal["relu", "elu", "tanh"] = Field("relu", description="Behind each layer but the last.")

    @property
    def stride(self) -> int:
        """A table has no pixels."""
        return 1

    def size_problem(self, size: Sequence[int]) -> str | None:
        """Return None: a table has no size."""
        return None

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        return sum((a + 1) * b for a, b in pairwise([ends.channels, *self.hidden, ends.outputs]))

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from torch import nn

        activations = {"relu": nn.ReLU, "elu": nn.ELU, "tanh": nn.Tanh}
        layers: list[nn.Module] = []
        for before, after in pairwise([ends.channels, *self.hidden]):
            layers += [nn.Linear(before, after), activations[self.activation](), nn.Dropout(self.dropout)]
        return nn.Sequential(*layers, nn.Linear([ends.channels, *self.hidden][-1], ends.outputs))
