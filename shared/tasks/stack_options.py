"""A sample of several instances, a bag or a series, as `[task.stack]` describes it; loads no PyTorch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.statistic_spec import StatisticSpec
from shared.networks import Ends
from shared.networks.options import Stack
from shared.table import Label, Table, check_distinct, later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.fields import is_side_table

if TYPE_CHECKING:
    from shared.job.data_options import DataTable

ENCODER, AGGREGATOR = "encoder", "aggregator"
"""Roles of the two networks: one sees each instance by itself, the other what it says of them all."""

MOMENTS = "vectors"
"""Name of the statistic: of each number of a vector, its mean and its variance within a bag."""


class StackTable(Table):
    """`[task.stack]`: a sample is a bag of tiles or vectors, a series, or several views, with one target.

    With `features` the job has two networks: `[model.encoder]` makes that many features of each instance, and
    `[model.aggregator]` sees those of all. Without it one network, `[model]`, sees the instances themselves.
    """

    kind: Literal["tiles", "series", "vectors", "views"] = Field(
        description="What an instance is: a tile of a slide or one of several images; a frame of a series; "
        "a row of numbers; a view, such as one of the four of a mammography."
    )
    views: list[Label] | None = later_key(
        None,
        min_length=2,
        max_length=64,
        examples=[["left_cc", "left_mlo", "right_cc", "right_mlo"]],
        description="Of views: the columns of the manifest that name their images, one for each view. A row "
        "may lack some, whose cells are empty.",
    )
    column: Label | None = Field(
        None,
        examples=["slide"],
        description="Column of the manifest that names them, or the table of the vectors beside it "
        "(`vectors.csv`); without it a column of the kind's name.",
    )
    features: int | None = Field(
        None,
        ge=1,
        le=8192,
        examples=[64],
        description="Numbers that [model.encoder] makes of each instance for [model.aggregator].",
    )
    length: int | None = Field(
        None, ge=1, le=8192, examples=[166], description="Of vectors: how many numbers each has."
    )
    order: Label | None = Field(
        None,
        examples=["month"],
        description="Of vectors: the column of numbers by which they are a series; it is not one of "
        "`length`. Without it they are a bag.",
    )
    scaling: Literal["federation", "none"] | None = Field(
        None,
        description="Of vectors: each number gets mean 0 and deviation 1 over the training patients of all "
        "sites ('federation', the default), or stays as it is.",
    )

    @model_validator(mode="after")
    def _fits_the_kind(self) -> Self:
        if self.kind == "vectors":
            if self.length is None:
                raise ValueError("length: is missing; say how many numbers a vector has")
            return self
        for key in ("length", "order", "scaling"):
            if getattr(self, key) is not None:
                raise ValueError(f"{key}: is about vectors, and these are {self.kind}")
        return self

    @model_validator(mode="after")
    def _has_views(self) -> Self:
        if (self.views is not None) != (self.kind == "views"):
            raise ValueError("views: are needed for kind = 'views', and only there")
        if self.views is not None:
            check_distinct("views", self.views)
            if self.column is not None:
                raise ValueError("column: has one for each of several views: say it in views")
            if self.features is None:
                raise ValueError("features: is missing; say how many [model.encoder] makes of each view")
        return self

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        if self.column is None:
            return self
        if is_side_table(self.column) != (self.kind == "vectors"):
            kind = "a table, such as 'vectors.csv'" if self.kind == "vectors" else "a column, and no table"
            raise ValueError(f"column: {self.kind} are named by {kind}")
        return self

    @property
    def are(self) -> Stack:
        """Whether their order means something."""
        if self.kind == "views":
            return "views"
        return "series" if self.kind == "series" or self.order is not None else "bag"

    @property
    def of_what(self) -> str:
        """What a sample is, in a few words."""
        if self.views is not None:
            return f"set of {len(self.views)} views ({', '.join(self.views)})"
        if self.kind == "series":
            return "series of images"
        return f"{self.are} of {self.kind}"

    def word(self, place: int) -> str:
        """Return what the instance at a place is called."""
        if self.views is not None:
            return self.views[place]
        return f"{'frame' if self.kind == 'series' else 'tile'} {place + 1}"

    @property
    def is_scaled(self) -> bool:
        """Whether vectors are brought to one scale by sums over all sites."""
        return self.kind == "vectors" and self.scaling != "none"

    @property
    def field(self) -> SampleField:
        """The field of a sample; its name is the kind's."""
        if self.views is not None:
            return SampleField(self.kind, tuple(self.views))
        default = (f"{self.kind}.csv",) if self.kind == "vectors" else ()
        columns = default if self.column is None else (self.column,)
        return SampleField(self.kind, columns, length=self.length or 0, order=self.order)

    def networks(self, data: "DataTable", outputs: int) -> dict[str, Ends]:
        """Return the ends of the networks that give `outputs` numbers for a sample."""
        if self.kind == "vectors":
            whole = Ends.of_table(self.length or 0, outputs)
        else:
            whole = Ends.of(data, outputs, "vector")
        if self.features is None:
            return {"model": whole.of_several(self.are)}
        views = len(self.views or [])
        return {
            ENCODER: whole.giving(self.features),
            AGGREGATOR: Ends.of_table(self.features, outputs).of_several(self.are, views),
        }

    def statistics(self) -> Iterator[StatisticSpec]:
        """Yield what is added up over the training patients of all sites."""
        if self.is_scaled:
            names = [
                f"{what} {number + 1}"
                for what in ("number", "spread of number")
                for number in range(self.length or 0)
            ]
            yield StatisticSpec.moments(MOMENTS, names).unless("take [task.stack] scaling = 'none'")


SEVERAL = later_key(
    None,
    description="A sample is a bag or a series of instances, or several views, in a table of its own.",
)
"""The key `stack` of a task's options."""
