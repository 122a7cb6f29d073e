"""The job: what a researcher asks for, as validated data.

A job names networks, losses, transforms and strategies; nothing in it is imported, evaluated or unpickled.
Its identity is the SHA-256 of its canonical JSON, which does not depend on key order, comments or on how a
number is spelt.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from shared.errors import JobError
from shared.further_metrics import METRICS, MetricOptions
from shared.job.bounds import check_bounds
from shared.job.data_options import DataTable
from shared.job.decision_options import DecisionsTable
from shared.job.describing import described
from shared.job.errors import describe
from shared.job.training_options import TrainingTable
from shared.metrics.group_options import GroupColumn
from shared.metrics.statistic_spec import StatisticSpec
from shared.networks import NETWORKS, NetworkOptions
from shared.networks.options import Part
from shared.privacy.options import PrivacyTable
from shared.strategies import STRATEGIES, StrategyOptions
from shared.table import ONE, SEVERAL, Name, Table, check_distinct, later_key
from shared.tasks import TASKS
from shared.tasks.options import TaskOptions
from shared.toml_files import read_toml

SCHEMA = 1
"""Number of the schema of jobs. Within one no default changes, and a key that comes later is left out of the
canonical form at its default (`later_key`): so a job has one digest in all versions that know the number."""


def _one_or_several(model: Any) -> str:
    """Say whether `[model]` is one network's table, or has a table for each of several."""
    if not isinstance(model, dict) or not model:
        return ONE
    return SEVERAL if all(isinstance(own, dict | NetworkOptions) for own in model.values()) else ONE


if TYPE_CHECKING:
    Task: TypeAlias = TaskOptions
    Networks: TypeAlias = NetworkOptions | dict[str, NetworkOptions]
    Strategy: TypeAlias = StrategyOptions
    Metric: TypeAlias = MetricOptions
else:
    Task, Network, Strategy = TASKS.union(), NETWORKS.union(), STRATEGIES.union()
    Metric = METRICS.union()
    Networks = Annotated[
        Annotated[Network, Tag(ONE)] | Annotated[dict[str, Network], Tag(SEVERAL)],
        Discriminator(_one_or_several),
    ]


class JobTable(Table):
    """`[job]`: what is trained, on what, how long."""

    name: Name = Field(description="Name of the job, in lower case; run folders are named after it.")
    dataset: Name = Field(description="Name under which each site offers its data.")
    rounds: int = Field(
        20,
        ge=0,
        le=100_000,
        description="Federated rounds. With 0 nothing is trained: the weights that the job starts from are "
        "judged on all sites' test patients (docs/judging.md).",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Every random number of the run comes from this seed.")
    describes: bool = later_key(
        False,
        description="Whether the job asks for sums over the sites' training patients and nothing else, so "
        "that somebody knows the data before they train (docs/describing.md); needs rounds = 0.",
    )


class EvaluationTable(Table):
    """`[evaluation]`: what is measured, how often, and which round is the best."""

    every: int = Field(1, ge=1, description="Rounds between two evaluations on the validation patients.")
    select_best: str | None = Field(
        None,
        max_length=200,
        examples=["loss"],
        description="Metric that names the best round; without it the last round is the result.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        examples=[10],
        description="Evaluations without a better one after which the run stops; needs select_best.",
    )
    average_last: int | None = later_key(
        None,
        ge=2,
        examples=[5],
        description="Last rounds the mean of whose models is the result, which no patient chooses; without "
        "select_best.",
    )
    average_decay: float | None = later_key(
        None,
        gt=0,
        lt=1,
        examples=[0.9],
        description="Factor by which the weights of earlier rounds fall in the mean of the models of all "
        "rounds, which is then the result (exponential moving average); without select_best.",
    )
    keep_models: int | None = later_key(
        None,
        ge=2,
        le=100,
        examples=[5],
        description="Last rounds whose models stay in the run's folder, for `wardround predict --rounds`: "
        "the mean of what they say.",
    )
    bins: int = Field(
        200,
        ge=10,
        le=1000,
        description="Most bins of scores for AUROC and average precision. There is never more than one for "
        "ten patients (docs/metrics.md).",
    )

    metrics: list[Metric] = later_key(
        [],
        max_length=16,
        examples=[[{"name": "brier"}]],
        description="Metrics besides those of the task (docs/metrics.md).",
    )
    groups: list[GroupColumn] = later_key(
        [],
        max_length=4,
        examples=[[{"column": "sex", "values": ["F", "M"]}]],
        description="Columns by whose groups of patients the test is judged too (docs/fairness.md).",
    )
    test: bool = later_key(
        True,
        description="Whether the model is judged on the test patients; false: the run ends after its last "
        "round, and no site answers of its test patients (as trials of `wardround tune`).",
    )
    decisions: DecisionsTable | None = later_key(
        None,
        description="Operating point, calibration and prediction sets, in a table of their own.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        check_distinct("metrics", [metric.name for metric in self.metrics])
        check_distinct("groups", [own.column for own in self.groups])
        return self

    @model_validator(mode="after")
    def _patience(self) -> Self:
        if self.patience is not None and self.select_best is None:
            raise ValueError("patience: needs select_best")
        return self

    @model_validator(mode="after")
    def _average(self) -> Self:
        means = [key for key in ("average_last", "average_decay") if getattr(self, key) is not None]
        if len(means) > 1:
            raise ValueError("average_decay: is another mean than that of average_last; take one of them")
        if means and self.select_best is not None:
            raise ValueError(f"{means[0]}: nothing is chosen then; leave out select_best")
        return self


class UpdateTable(Table):
    """`[update]`: what of the trained model each site sends, and how (docs/update-filters.md)."""

    parts: list[Part] | None = Field(
        None,
        min_length=1,
        max_length=1000,
        examples=[["head"]],
        description="Modules of the network that are trained and sent, by their names in it; the rest stays "
        "as it is in the first model. Without it all of the network.",
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Of the numbers that are sent."
    )
    compression: Literal["none", "int8", "top-k"] = Field(
        "none",
        description="'int8': 8 bits for each number; 'top-k': only the largest numbers. What is left out is "
        "kept at the site and added in its next round (error feedback).",
    )
    keep: float | None = Field(
        None, gt=0, le=0.5, examples=[0.05], description="top-k: share of the numbers that is sent."
    )
    clip: float | None = Field(
        None,
        gt=0,
        examples=[10.0],
        description="Largest L2 norm of what a site changes in a round; a larger change is scaled down.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.keep is not None) != (self.compression == "top-k"):
            raise ValueError("keep: is needed with compression = 'top-k', and only there")
        if self.compression == "int8" and self.precision != "float32":
            raise ValueError("precision: with compression = 'int8' each number has 8 bits; leave it out")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether the whole model is sent, as it is."""
        return self == UpdateTable()

    @property
    def bits(self) -> int:
        """Bits of each number of the update that is sent."""
        return 8 if self.compression == "int8" else 32 if self.precision == "float32" else 16


_MOVED = {  # keys of earlier job files, and what they are called in [task]
    "job": {"task": "name"},
    "data": {key: key for key in ("classes", "multi_label", "labels", "mask")},
    "training": {key: key for key in ("loss", "class_weights", "class_shares")},
    "evaluation": {key: key for key in ("distances", "surface_tolerance")},
}


class JobSpec(Table):
    """A job: what a researcher asks for, in one TOML file."""

    job: JobTable
    task: Task
    model: Networks
    data: DataTable = DataTable()
    training: TrainingTable
    strategy: Strategy
    evaluation: EvaluationTable = EvaluationTable()
    privacy: PrivacyTable = PrivacyTable()
    update: UpdateTable = UpdateTable()

    @model_validator(mode="before")
    @classmethod
    def _nothing_moved(cls, tables: Any) -> Any:
        found = [
            f"[{table}] {key} is now [task] {new}"
            for table, keys in _MOVED.items()
            for key, new in keys.items()
            if isinstance(tables, dict) and isinstance(tables.get(table), dict) and key in tables[table]
        ]
        if found:
            raise ValueError(f"the options of the task have a table of their own: {'; '.join(found)}")
        return tables

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        from shared.job.rules import check  # noqa: PLC0415 (the rules import the tables)

        check(self)
        return self

    @property
    def trains(self) -> bool:
        """Whether anything is trained."""
        return self.job.rounds > 0

    @property
    def judges(self) -> bool:
        """Whether nothing is trained, and the model that the job starts from is judged."""
        return not self.trains and not self.job.describes

    @property
    def verb(self) -> str:
        """What its sites do."""
        return "train" if self.trains else "judge" if self.judges else "be described"

    def statistics(self) -> tuple[StatisticSpec, ...]:
        """Return what is added up over the training patients of all sites before the first round."""
        return described(self) if self.job.describes else self.task.statistics()

    def canonical(self) -> str:
        """Return the job as JSON with sorted keys and every default written out."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )

    def evaluates(self, round_: int) -> bool:
        """Say whether the model after a round is evaluated on the validation patients."""
        return round_ % self.evaluation.every == 0 or round_ == self.job.rounds

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def parse_job(table: dict[str, Any], where: object) -> JobSpec:
    """Validate a job given as nested tables.

    Raises:
        JobError: With the problems found: table, key, what was expected, the nearest valid name.
    """
    check_bounds(table, where)
    try:
        return JobSpec.model_validate(table, strict=True)
    except ValidationError as error:
        raise JobError(describe(error, JobSpec), where=where) from None


def load_job(path: Path, overrides: dict[str, Any] | None = None) -> JobSpec:
    """Read a job file; `overrides` maps dotted keys ('training.learning_rate') to values.

    Raises:
        JobError: The file is missing, is not TOML, or is not a valid job.
    """
    table = read_toml(path, JobError)
    override(table, overrides or {}, path)
    return parse_job(table, path)


def override(table: dict[str, Any], values: dict[str, Any], path: Path | None) -> None:
    """Set keys of a job's table, given as dotted keys ('training.learning_rate'); None takes one out.

    Raises:
        JobError: One names no key.
    """
    for dotted, value in values.items():
        _override(table, dotted, value, path)


def _override(table: dict[str, Any], dotted: str, value: object, path: Path | None) -> None:
    *heads, key = dotted.split(".")
    if len(heads) not in (1, 2) or not key:
        raise JobError(
            f"'{dotted}' names no key of the job", where=path, remedy="Write --set table.key=value."
        )
    for depth, head in enumerate(heads, 1):
        table = table.setdefault(head, {})
        if not isinstance(table, dict):
            raise JobError(f"[{'.'.join(heads[:depth])}] must be a table", where=path)
    if value is None and key in table:
        del table[key]
    else:  # None of a key that is not there: so that a name that is no key is found
        table[key] = value
