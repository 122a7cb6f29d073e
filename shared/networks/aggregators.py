"""Networks that make one answer of the vectors of a bag or a series."""

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from shared.networks.options import Ends, Stack, VectorOptions

if TYPE_CHECKING:
    from torch import nn

AttentionWidth = Annotated[int, Field(ge=1, le=4096, description="Features from which attention is made.")]


class AggregatorOptions(VectorOptions):
    """What all of them have: layers for each instance, then something that sees them together."""

    dimensions: ClassVar[frozenset[int]] = frozenset({0})
    stacks: ClassVar[frozenset[Stack]] = frozenset({"bag", "series"})

    hidden: list[Annotated[int, Field(ge=1, le=8192)]] = Field(
        [],
        max_length=16,
        description="Features of layers that see each instance by itself, before all others.",
    )

    @property
    def stride(self) -> int:
        """Vectors have no pixels."""
        return 1

    def size_problem(self, size: object) -> str | None:
        """Return None: vectors have no size."""
        return None

    def width(self, ends: Ends) -> int:
        """Return the features of an instance that are put together."""
        return self.hidden[-1] if self.hidden else ends.channels

    def about_numbers(self, ends: Ends) -> float:
        """See the base class: the layers of each instance, and the last one."""
        layers = sum((a + 1) * b for a, b in pairwise([ends.channels, *self.hidden]))
        return layers + (self.width(ends) + 1) * ends.outputs


class PoolingOptions(AggregatorOptions):
    """Judges each instance by itself, then takes the mean or the largest of their outputs."""

    stacks: ClassVar[frozenset[Stack]] = frozenset({"bag", "series", "views"})

    name: Literal["mean-pooling", "max-pooling"]

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.aggregator_modules import Pooling

        return Pooling(ends, self.hidden, self.dropout, largest=self.name == "max-pooling")


class AttentionMILOptions(AggregatorOptions):
    """Weighs the instances by attention, and judges their sum (Ilse et al. 2018)."""

    stacks: ClassVar[frozenset[Stack]] = frozenset({"bag", "series", "views"})

    name: Literal["attention-mil"]
    attention: AttentionWidth = 128
    gated: bool = Field(True, description="Attention is gated (their equation 9), or not (equation 8).")

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        return super().about_numbers(ends) + (1 + self.gated) * self.width(ends) * self.attention

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.aggregator_modules import AttentionMIL

        return AttentionMIL(ends, self.hidden, self.dropout, self.attention, gated=self.gated)


class TransformerOptions(AggregatorOptions):
    """Instances look at each other, then attention weighs them (Myronenko et al. 2021)."""

    stacks: ClassVar[frozenset[Stack]] = frozenset({"bag", "series", "views"})

    name: Literal["transformer"]
    layers: int = Field(2, ge=1, le=24, description="Layers in which instances look at each other.")
    heads: int = Field(4, ge=1, le=64, description="Heads of each; they divide the features of an instance.")
    attention: AttentionWidth = 128

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        width = self.width(ends)
        return super().about_numbers(ends) + self.layers * 8 * width**2 + width * self.attention

    def problem(self, ends: Ends) -> str | None:
        """See the base class."""
        width = self.width(ends)
        if width % self.heads or width % 2:
            return (
                f"heads: {width} features of an instance are not even, or no multiple of {self.heads} heads"
            )
        return None

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.aggregator_modules import Transformer

        return Transformer(
            ends,
            self.hidden,
            self.dropout,
            layers=self.layers,
            heads=self.heads,
            attention=self.attention,
        )


class JoinedViewsOptions(AggregatorOptions):
    """Puts the features of all views side by side, each at its place (Wu et al. 2020, "joint").

    A learned vector, the token, stands in for the features of a view that is lacking.
    """

    stacks: ClassVar[frozenset[Stack]] = frozenset({"views"})

    name: Literal["joined-views"]
    joined: list[Annotated[int, Field(ge=1, le=8192)]] = Field(
        [64], max_length=16, description="Features of layers that see all views together."
    )
    drop_view: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the views that training leaves out by chance, so that the tokens are learnt "
        "where few rows lack a view.",
    )

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        own = super().about_numbers(ends) - (self.width(ends) + 1) * ends.outputs
        side_by_side = ends.views * self.width(ends)
        layers = sum((a + 1) * b for a, b in pairwise([side_by_side, *self.joined, ends.outputs]))
        return own + side_by_side + layers

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.aggregator_modules import JoinedViews

        return JoinedViews(ends, self.hidden, self.dropout, joined=self.joined, drop_view=self.drop_view)


class CLAMOptions(AggregatorOptions):
    """Attention for each class, and clusters of the instances that it picks (as CLAM, Lu et al. 2021)."""

    stacks: ClassVar[frozenset[Stack]] = frozenset({"bag"})

    name: Literal["clam"]
    attention: AttentionWidth = 128
    picked: int = Field(
        8,
        ge=1,
        le=1024,
        description="Instances with the highest and the lowest attention that are told apart.",
    )
    cluster_weight: float = Field(
        0.43, ge=0, le=100, description="Of the loss of the clusters beside that of the bag, which counts 1."
    )

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        return super().about_numbers(ends) + self.width(ends) * (2 * self.attention + 2 * ends.outputs)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.aggregator_modules import CLAM

        return CLAM(
            ends,
            self.hidden,
            self.dropout,
            attention=self.attention,
            picked=self.picked,
            cluster_weight=self.cluster_weight,
        )


class RecurrentOptions(AggregatorOptions):
    """Goes through a series step by step (Elman 1990; Cho et al. 2014; Hochreiter and Schmidhuber 1997)."""

    stacks: ClassVar[frozenset[Stack]] = frozenset({"series"})

    name: Literal["rnn", "gru", "lstm"]
    features: int = Field(64, ge=1, le=4096, description="Features that are remembered.")
    layers: int = Field(1, ge=1, le=16, description="Layers on each other.")
    both_ways: bool = Field(False, description="Goes through it from the end, too.")
    attention: int | None = Field(
        None,
        ge=1,
        le=4096,
        examples=[64],
        description="Features of the attention by which steps are weighed; without it the last one counts.",
    )

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        gates, ways = {"rnn": 1, "gru": 3, "lstm": 4}[self.name], 1 + self.both_ways
        first = self.width(ends) + self.features
        further = (self.layers - 1) * (ways + 1) * self.features
        steps = gates * ways * self.features * (first + further)
        layers = super().about_numbers(ends) - self.width(ends) * ends.outputs
        return layers + steps + ways * self.features * (ends.outputs + (self.attention or 0))

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.aggregator_modules import Recurrent

        return Recurrent(
            ends,
            self.hidden,
            self.dropout,
            self.name,
            features=self.features,
            layers=self.layers,
            both_ways=self.both_ways,
            attention=self.attention,
        )
