"""What a job may say about survival."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.metrics.statistic_spec import StatisticSpec
from shared.networks import Ends
from shared.table import Label, Positive, later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.options import TRAIN, PhaseSpec
from shared.tasks.records import Categories, Indicators, RecordOptions, Scaling, SeesImage

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.survival.task import SurvivalTask

TIMES = "times"
"""Name of the statistic."""

_BINS = 256  # of the times of events, from which the intervals are found


class Survival(RecordOptions):
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
    image: SeesImage = False  # these four were always in the digest of a job
    categories: Categories = Field({})
    scaling: Scaling = None
    indicators: Indicators = False
    time: Label = Field("time", description="Column of the time until the event or the end of follow-up.")
    observed: Label = Field("event", description="Column that is 1 where the event came, 0 where it did not.")
    loss: Literal["hazard", "cox", "deephit"] = Field(
        "hazard",
        description="'hazard': the chance of the event in each interval, for who got there; 'deephit': in "
        "which interval the event comes, if any; 'cox': the partial likelihood within a batch.",
    )
    mean_over: Literal["events", "patients"] = later_key(
        "events",
        description="'cox': by how many the sum of a batch is divided, its events or its patients. With "
        "'patients', batches of whole sites, one step a round and plain SGD a federation climbs the "
        "stratified partial likelihood.",
    )
    ranking: float = later_key(
        0.0,
        ge=0,
        description="'deephit': weight of the order of the patients of a batch beside the likelihood; 0 for "
        "private training.",
    )
    ties: Literal["efron", "breslow"] = Field(
        "efron", description="'cox': how events at one time share their risk."
    )
    intervals: list[Positive] | None = Field(
        None,
        min_length=1,
        max_length=200,
        examples=[[12.0, 24.0, 36.0, 60.0]],
        description="The end of each interval, in the unit of the times; without it as many events of all "
        "sites are in each of interval_count.",
    )
    interval_count: int = Field(
        10, ge=2, le=100, description="Without intervals: how many there are up to the horizon."
    )
    horizon: Positive | None = Field(
        None,
        examples=[60.0],
        description="Without intervals: the time up to which events are told apart.",
    )

    @model_validator(mode="after")
    def _intervals(self) -> Self:
        if self.ranking and self.loss != "deephit":
            raise ValueError(f"ranking: is of 'deephit', and the loss is '{self.loss}'")
        if self.mean_over == "patients" and self.loss != "cox":
            raise ValueError(f"mean_over: is of 'cox', and the loss is '{self.loss}'")
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
    def predicted_columns(self) -> Sequence[str]:
        """See the base class."""
        return (self.time, self.observed)

    @property
    def outputs(self) -> int:
        """Numbers that the network gives: the log hazard, or the logit of the hazard in each interval."""
        if self.loss == "cox":
            return 1
        return self.interval_count if self.intervals is None else len(self.intervals)

    @property
    def subject(self) -> str:
        """See the base class."""
        return f"survival ({self.time}, {self.observed}) from {self.seen}"

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class."""
        event = replace(self.declared["event"], columns=(self.time, self.observed))
        return {**self.inputs(), "event": event}

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """See `RecordOptions.input_networks`."""
        return self.input_networks(data, self.outputs)

    def phases(self, data: "DataTable") -> tuple[PhaseSpec, ...]:
        """See the base class; Cox's loss is of a batch, and so is a ranking."""
        compares = f"compares the patients of a batch under the loss '{self.loss}'"
        compares += " with a ranking" if self.ranking else ""
        mixes = compares if self.loss == "cox" or self.ranking else None
        return (PhaseSpec(TRAIN, tuple(self.networks(data)), mixes),)

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        concordance = MetricSpec("concordance", shown=1)
        return (
            (concordance,)
            if self.loss == "cox"
            else (
                concordance,
                MetricSpec("integrated_brier", True, shown=2),
                MetricSpec("calibration_error", True),
            )
        )

    def statistics(self) -> tuple[StatisticSpec, ...]:
        """Moments of the columns, and the times of the events, where the job does not state what it needs."""
        if self.horizon is None:
            return self.column_statistics()
        times = StatisticSpec.histogram(TIMES, f"{self.time} of the event", _BINS, 0.0, self.horizon)
        return (*self.column_statistics(), times.unless("give [task] intervals in place of horizon"))

    def build(self, job: "JobSpec") -> "SurvivalTask":
        """See the base class."""
        from shared.tasks.survival.task import SurvivalTask

        return SurvivalTask(job, self)
