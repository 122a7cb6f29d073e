"""What a tuning varies: a TOML file beside the job, which no hospital ever sees."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, model_validator

from shared.errors import RunError
from shared.job.errors import describe
from shared.job.evaluation_rules import OF_ROUNDS
from shared.job.schema import JobSpec, override, parse_job
from shared.metrics.spec import metric_names
from shared.table import Table
from shared.text.names import suggestion
from shared.toml_files import read_toml

Value: TypeAlias = bool | int | float | str | list[int] | list[float] | list[str]
_FIXED = ("evaluation", "privacy")  # tables that say how a trial is judged, and what is promised
_OF_JOB = "job.rounds"  # the only key of [job] that may vary


class Range(Table):
    """Numbers between two ends: whole ones where both ends are."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="Whether equal factors are equally likely, not equal steps.")

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low: must be below high")
        if self.log and self.low <= 0:
            raise ValueError("low: must be above 0 where log = true")
        return self

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class TuneTable(Table):
    """`[tune]`: how it is searched."""

    trials: int = Field(30, ge=1, le=10_000, description="Rehearsals.")
    metric: str | None = Field(
        None,
        max_length=200,
        examples=["dice_global"],
        description="Of the validation patients; without it the job's select_best.",
    )
    sampler: Literal["tpe", "random"] = Field(
        "tpe", description="Tree of Parzen estimators (Bergstra et al., 2011), or by chance."
    )
    pruner: Literal["median", "none"] = Field(
        "median", description="'median': a trial ends that is worse than half of the others were by then."
    )
    warmup: int = Field(2, ge=0, description="Rounds of a trial before it may end early.")
    startup: int = Field(5, ge=1, description="Trials by chance before anything is learnt from them.")
    seed: int = Field(0, ge=0, lt=2**32, description="Which values are tried follows from it.")


class Space(Table):
    """A file of a tuning."""

    tune: TuneTable = TuneTable()
    vary: dict[str, Range | Annotated[list[Value], Field(min_length=2, max_length=100)]] = Field(
        min_length=1, max_length=50
    )


def read_space(path: Path, job: JobSpec) -> Space:
    """Read what is to be varied of a job.

    Raises:
        RunError: The file can't be used, or names a key that may not vary, or a metric that the job lacks.
    """
    try:
        space = Space.model_validate(read_toml(path, RunError), strict=True)
    except ValidationError as error:
        raise RunError(describe(error, Space), where=path) from None
    for key in space.vary:
        table = key.partition(".")[0]
        if table in _FIXED or (table == "job" and key != _OF_JOB):
            raise RunError(
                f"'{key}' may not vary: trials are compared by the same patients, measure and promise",
                where=path,
                remedy=f"Leave it out; of [job] only {_OF_JOB} may vary.",
            )
    metric = metric_of(space, job)
    if metric is None:
        raise RunError("names no metric", where=path, remedy='Add [tune] metric = "…", or select_best.')
    if metric not in (known := metric_names(job)):
        raise RunError(f"unknown metric '{metric}'; {suggestion(metric, known)}", where=path)
    return space


def metric_of(space: Space, job: JobSpec) -> str | None:
    """Return the metric by which trials are compared."""
    return space.tune.metric or job.evaluation.select_best


def job_of_trial(job: JobSpec, metric: str, values: dict[str, Any], where: Path) -> JobSpec:
    """Return the job of a trial.

    It stops after no number of rounds without a better one: that a trial ends early is the tuning's to say.

    Raises:
        JobError: The values do not go together.
    """
    tables: dict[str, Any] = job.model_dump(mode="json", exclude_none=True)
    override(tables, values, where)
    tables["evaluation"] |= dict.fromkeys(OF_ROUNDS) | {"select_best": metric}
    return parse_job(tables, where)


def without_test(job: JobSpec) -> JobSpec:
    """Return a job whose run ends before the test, which its hospitals then know and approve."""
    tables: dict[str, Any] = job.model_dump(mode="json", exclude_none=True)
    tables["evaluation"] |= {"test": False, "groups": [], "decisions": None}
    return parse_job(tables, job.job.name)
