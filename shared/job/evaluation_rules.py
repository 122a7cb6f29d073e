"""How a job chooses its result, or does not."""

from typing import TYPE_CHECKING

from shared.metrics.spec import metric_names
from shared.text.names import suggestion
from shared.text.plural import many

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

OF_ROUNDS = ("select_best", "patience", "average_last", "average_decay", "keep_models", "decisions")
"""Keys of `[evaluation]` that are about rounds, or that choose on their validation patients."""


def check_evaluation(job: "JobSpec") -> None:
    """Raise ValueError where an unknown metric chooses, or more rounds count than there are."""
    best, known = job.evaluation.select_best, metric_names(job)
    if best is not None and best not in known:
        raise ValueError(f"[evaluation] select_best: unknown metric '{best}'; {suggestion(best, known)}")
    if not job.evaluation.test and not job.trains:
        raise ValueError("[evaluation] test: nothing else is done by a job of no rounds; leave it out")
    for key in ("groups", "decisions"):
        if not job.evaluation.test and getattr(job.evaluation, key):
            raise ValueError(f"[evaluation] {key}: is of the test, which stays closed (test = false)")
    for key in ("average_last", "keep_models"):
        if (getattr(job.evaluation, key) or 1) > max(job.job.rounds, 1):
            raise ValueError(f"[evaluation] {key}: the job has {many(job.job.rounds, 'round')}")
