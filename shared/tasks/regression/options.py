"""What a job may say about a regression."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.metrics.statistic_spec import StatisticSpec
from shared.networks import Ends
from shared.table import Label, Positive, check_distinct, later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.records import RecordOptions, moments_of

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.regression.task import RegressionTask

TARGETS = "targets"
"""Name of the statistic: moments of what is predicted."""

LARGEST = 2.0**10
"""Deviations that an error, or a target, counts with at most."""

_OF_A_UNIT = ("mae", "rmse")  # so they have a mean over targets of one unit alone


class Regression(RecordOptions):
    """Predicts numbers (an age, a volume, a score) from an image, the columns of a table, or both."""

    declared: ClassVar[Mapping[str, SampleField]] = {
        "image": SampleField("image"),
        "number": SampleField("number", role="target", required=False),
    }
    example: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "task": {"targets": ["age"]},
        "model": {"name": "resnet18"},
        "data": {"size": [128, 128]},
        "training": {"local_epochs": 1},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "r2"},
    }

    name: Literal["regression"]
    targets: Annotated[list[Label], Field(min_length=1, max_length=64)] = Field(
        description="Columns of the manifest that are predicted; their mean and standard deviation are those "
        "of all sites' training patients, or stand in `scaling`. A row may lack some: it teaches nothing of "
        "these.",
    )
    volume_of: Label | None = later_key(
        None,
        examples=["mask"],
        description="Column of masks: the targets are their structures, value 1 the first, and what is "
        "predicted is how large each is (ml; of pictures mm²).",
    )
    loss: Literal["huber", "mse", "mae"] = Field(
        "huber", description="Of errors in standard deviations of the target; the mean over the targets."
    )
    delta: Positive = Field(
        1.0, description="'huber': the error, in standard deviations, from which it counts linearly."
    )

    @model_validator(mode="after")
    def _targets(self) -> Self:
        check_distinct("targets", self.targets)
        return self

    @property
    def predicted_columns(self) -> Sequence[str]:
        """See the base class."""
        return self.targets if self.volume_of is None else (self.volume_of,)

    @property
    def scaled_columns(self) -> list[str]:
        """See the base class; the targets among them."""
        return [*self.numbers, *self.targets]

    @property
    def subject(self) -> str:
        """See the base class."""
        volume = "" if self.volume_of is None else "the volume of "
        return f"regression of {volume}{', '.join(self.targets)} from {self.seen}"

    @property
    def have_one_unit(self) -> bool:
        """Whether a mean over the targets means something: volumes are all in ml."""
        return len(self.targets) == 1 or self.volume_of is not None

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class."""
        names = tuple(self.targets)
        if self.volume_of is None:
            return {**self.inputs(), "number": replace(self.declared["number"], columns=names)}
        volume = SampleField("volume", columns=(self.volume_of,), role="target", classes=names)
        return {**self.inputs(), "number": volume}

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """See `RecordOptions.input_networks`: one number for each target."""
        return self.input_networks(data, len(self.targets))

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        single = self.targets if len(self.targets) > 1 else []
        return (
            MetricSpec(
                "mae", lower_is_better=True, shown=int(self.have_one_unit), classes=single, mean_of="error"
            ),
            MetricSpec("rmse", lower_is_better=True, classes=single),
            MetricSpec("r2", shown=2, classes=single),
            MetricSpec("relative_mae", lower_is_better=True, shown=3, classes=single),
        )

    def statistics(self) -> tuple[StatisticSpec, ...]:
        """Moments of the columns and of the targets, where the job does not state them."""
        if self.scaling is not None:
            return ()
        return (*self.column_statistics(), *moments_of(TARGETS, self.targets))

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        if self.volume_of is not None and not self.image:
            yield "[task] volume_of: a mask lies on an image; set image = true, or name columns as targets"
        best = job.evaluation.select_best
        if best in _OF_A_UNIT and not self.have_one_unit:
            yield (
                f"[evaluation] select_best: '{best}' of {len(self.targets)} targets has no one unit; take "
                f"'{best}/{self.targets[0]}', 'r2' or 'relative_mae'"
            )

    def build(self, job: "JobSpec") -> "RegressionTask":
        """See the base class."""
        from shared.tasks.regression.task import RegressionTask

        return RegressionTask(job, self)
