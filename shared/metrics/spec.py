"""What a metric is, known without loading PyTorch: its name, which way is better, where it is shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


@dataclass(frozen=True)
class MetricSpec:
    """A metric of a task.

    Attributes:
        name: As tables and `select_best` have it.
        lower_is_better: Whether a smaller value is the better one.
        shown: Its place in the table at the end of a run, from 1; 0 where it does not stand there.
        classes: Those for which it is also reported alone, as `name/class`.
        mean_of: Where it is a mean of errors or distances, which have no upper end: the name of the `Mean` in
            the task's metrics that it is, maybe in another unit. Some patients may have many times what the
            others have, so its interval is `Bootstrap.interval_of_mean`.
    """

    name: str
    lower_is_better: bool = False
    shown: int = 0
    classes: Sequence[str] = ()
    mean_of: str | None = None


LOSS = MetricSpec("loss", lower_is_better=True)


def metric_specs(job: "JobSpec") -> tuple[MetricSpec, ...]:
    """Return the metrics of a job, the loss first."""
    further = (metric.spec(job.task) for metric in job.evaluation.metrics)
    return (LOSS, *job.task.metrics(), *further)


def metric_names(job: "JobSpec") -> tuple[str, ...]:
    """Return the names that a job reports, `loss` first; single classes follow as `dice_global/edema`."""
    specs = metric_specs(job)
    single = [f"{spec.name}/{label}" for spec in specs for label in spec.classes]
    return (*(spec.name for spec in specs), *single)


def is_better(job: "JobSpec", name: str, value: float, best: float | None) -> bool:
    """Say whether a value of a metric is better than the best so far; an undefined one never is."""
    if math.isnan(value):
        return False
    if best is None:
        return True
    plain = name.partition("/")[0]
    lower = next(spec.lower_is_better for spec in metric_specs(job) if spec.name == plain)
    return value < best if lower else value > best
