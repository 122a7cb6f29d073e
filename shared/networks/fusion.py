"""Networks that bring together the features of an image and those of a record."""

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from shared.networks.options import Ends, NetworkOptions, Output

if TYPE_CHECKING:
    from torch import nn


class FusionOptions(NetworkOptions):
    """Features of an image and of a record to a vector; a learned token stands in for what a row lacks.

    'concat' puts them side by side, in 'film' the record scales and shifts those of the image (Perez et al.
    2018), in 'gated' both say how much each counts (Arevalo et al. 2017).
    """

    gives: ClassVar[Output] = "fused"
    dimensions: ClassVar[frozenset[int]] = frozenset({0})

    name: Literal["concat", "film", "gated"]
    hidden: list[Annotated[int, Field(ge=1, le=8192)]] = Field(
        [],
        max_length=16,
        description="Features of each layer behind the fusion but the last; none makes one linear layer.",
    )
    drop_input: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the samples that lose one of the two inputs in training, so that the network "
        "also learns to do with the other (Neverova et al. 2016).",
    )

    @property
    def stride(self) -> int:
        """Vectors have no pixels."""
        return 1

    def size_problem(self, size: object) -> str | None:
        """Return None: vectors have no size."""
        return None

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        features = ends.channels // 2
        inside = {"concat": 0, "film": 2, "gated": 4}[self.name] * features**2
        widths = [2 * features if self.name == "concat" else features, *self.hidden, ends.outputs]
        return inside + sum((a + 1) * b for a, b in pairwise(widths))

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.fusion_modules import MODULES

        fused = MODULES[self.name]
        return fused(ends.channels // 2, ends.outputs, self.hidden, self.dropout, self.drop_input)
