"""What a job may say about survival."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.metrics.statistic_spec import StatisticSpec
from shared.networks import Ends
from shared.table import Label, Positive
from shared.tasks.fields import Field as SampleField
from shared.tasks.options import TRAIN, PhaseSpec, TaskOptions

if TYPE_CHECKING:
    from shared.job.schema import DataTable, JobSpec
    from shared.tasks.survival.task import SurvivalTask

Columns = Annotated[list[Label], Field(min_length=1, max_length=1024)]
Scale = Annotated[list[float], Field(min_length=2, max_length=2)]

COLUMNS, TIMES = "columns", "times"
"""Names of the statistics."""

_FEW = 6  # columns that a line names
_BINS = 256  # of the times of events, from which the intervals are found


class Survival(TaskOptions):
    """Says how soon an event comes, from the columns of a table and, where asked, from an image."""

    declared: ClassVar[Mapping[str, SampleField]] = {
        "record": SampleField("table"),
        "event": SampleField("event", role="target"),
    }
    example: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "task": {"columns": ["age", "grade"], "horizon": 60.0},
        "model": {"name": "mlp"},
        "training": {"local_epochs": 1},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "concordance"},
    }

    name: Literal["survival"]
    columns: Columns = Field(description="Columns of the manifest that the network sees.")
    categories: dict[Label, Columns] = Field(
        {},
        max_length=1024,
        examples=[{"sex": ["female", "male"]}],
        description="Values of each column that is not a number: the network sees 0 or 1 for each of them.",
    )
    time: Label = Field("time", description="Column of the time until the event or the end of follow-up.")
    observed: Label = Field("event", description="Column that is 1 where the event came, 0 where it did not.")
    image: bool = Field(
        False,
        description="The network sees an image too: [model.image] and [model.record] add their outputs.",
    )
    loss: Literal["hazard", "cox"] = Field(
        "hazard",
        description="'hazard': the chance of the event in each interval; 'cox': the partial likelihood "
        "within a batch.",
    )
    ties: Literal["efron", "breslow"] = Field(
        "efron", description="'cox': how events at one time share their risk."
    )
    intervals: list[Positive] | None = Field(
        None,
        min_length=1,
        max_length=200,
        examples=[[12.0, 24.0, 36.0, 60.0]],
        description="'hazard': the end of each interval, in the unit of the times; without it as many events "
        "of all sites are in each of interval_count.",
    )
    interval_count: int = Field(
        10, ge=2, le=100, description="'hazard' without intervals: how many there are up to the horizon."
    )
    horizon: Positive | None = Field(
        None,
        examples=[60.0],
        description="'hazard' without intervals: the time up to which events are told apart.",
    )
    scaling: dict[Label, Scale] | None = Field(
        None,
        max_length=1024,
        examples=[{"age": [60.0, 12.0]}],
        description="Mean and standard deviation of each column of numbers, as publicly known; without it "
        "those of all sites' training patients.",
    )
    indicators: bool = Field(
        False, description="The network also sees, for each column of numbers, 1 where it is missing."
    )

    @model_validator(mode="after")
    def _columns(self) -> Self:
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("columns: a name appears twice")
        if unknown := [name for name in self.categories if name not in self.columns]:
            raise ValueError(f"categories: '{unknown[0]}' is not among the columns")
        if twice := [name for name, values in self.categories.items() if len(set(values)) != len(values)]:
            raise ValueError(f"categories: a value of '{twice[0]}' appears twice")
        if told := [name for name in (self.time, self.observed) if name in self.columns]:
            raise ValueError(f"columns: '{told[0]}' is what is to be predicted")
        if self.scaling is not None:
            self._check_scaling(self.scaling)
        return self

    def _check_scaling(self, scaling: Mapping[str, list[float]]) -> None:
        if set(scaling) != set(self.numbers):
            odd = sorted(set(scaling) ^ set(self.numbers))[0]
            problem = "is not a column of numbers" if odd in scaling else "is missing"
            raise ValueError(f"scaling: '{odd}' {problem}; it needs every column of numbers, and no other")
        if flat := [name for name, (_, deviation) in scaling.items() if deviation <= 0]:
            raise ValueError(f"scaling: the standard deviation of '{flat[0]}' must be above 0")

    @model_validator(mode="after")
    def _intervals(self) -> Self:
        if self.loss == "cox":
            if self.intervals is not None or self.horizon is not None:
                raise ValueError("intervals: 'cox' has none; leave out intervals and horizon")
            return self
        if (self.intervals is None) == (self.horizon is None):
            raise ValueError("intervals: give the end of each, or a horizon up to which they are found")
        if self.intervals is not None and any(a >= b for a, b in pairwise(self.intervals)):
            raise ValueError("intervals: the ends must ascend")
        return self

    @property
    def numbers(self) -> list[str]:
        """The columns that are numbers."""
        return [name for name in self.columns if name not in self.categories]

    @property
    def outputs(self) -> int:
        """Numbers that the network gives: the log hazard, or the logit of the hazard in each interval."""
        if self.loss == "cox":
            return 1
        return self.interval_count if self.intervals is None else len(self.intervals)

    @property
    def inputs(self) -> int:
        """Numbers that the network sees of a table."""
        categories = sum(len(values) for values in self.categories.values())
        return categories + len(self.numbers) * (2 if self.indicators else 1)

    @property
    def subject(self) -> str:
        """See the base class."""
        beside = " and images" if self.image else ""
        few = len(self.columns) <= _FEW
        columns = ", ".join(self.columns) if few else f"{len(self.columns)} columns"
        return f"survival ({self.time}, {self.observed}) from {columns}{beside}"

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class."""
        categories = {name: tuple(values) for name, values in self.categories.items()}
        record = replace(self.declared["record"], columns=tuple(self.columns), categories=categories)
        event = replace(self.declared["event"], columns=(self.time, self.observed))
        image = {"image": SampleField("image")} if self.image else {}
        return {**image, "record": record, "event": event}

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """One network for the table; beside an image another, and their outputs are added.

        That is what concatenating the features of both before a last linear layer comes to.
        """
        table = Ends.of_table(self.inputs, self.outputs)
        if not self.image:
            return {"model": table}
        return {"image": Ends.of(data, self.outputs, "vector"), "record": table}

    def phases(self, data: "DataTable") -> tuple[PhaseSpec, ...]:
        """See the base class; Cox's loss is of a batch."""
        mixes = "compares the patients of a batch under the loss 'cox'" if self.loss == "cox" else None
        return (PhaseSpec(TRAIN, tuple(self.networks(data)), mixes),)

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        concordance = MetricSpec("concordance", shown=1)
        return (
            (concordance,)
            if self.loss == "cox"
            else (concordance, MetricSpec("integrated_brier", True, shown=2))
        )

    def statistics(self) -> tuple[StatisticSpec, ...]:
        """Moments of the columns, and the times of the events, where the job does not state what it needs."""
        found = []
        if self.scaling is None and self.numbers:
            moments = StatisticSpec.moments(COLUMNS, self.numbers)
            scaling = "give [task] scaling: mean and standard deviation of each column as publicly known"
            found.append(moments.unless(scaling))
        if self.horizon is not None:
            times = StatisticSpec.histogram(TIMES, f"{self.time} of the event", _BINS, 0.0, self.horizon)
            found.append(times.unless("give [task] intervals in place of horizon"))
        return tuple(found)

    def build(self, job: "JobSpec") -> "SurvivalTask":
        """See the base class."""
        from shared.tasks.survival.task import SurvivalTask

        return SurvivalTask(job, self)
