"""What a job of no rounds must say: a whole model or none, and nothing that belongs to a training."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from shared.job_parts import networks_of

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_NOTHING = "nothing is trained ([job] rounds = 0)"


def check_judging(job: "JobSpec") -> None:
    """Raise ValueError where a job that trains nothing names no whole model, or says how to train one."""
    if job.judges:
        problems = (*_model(job), *_rest(job))
    else:
        problems = (*_describing(job), *_rest(job)) if job.job.describes else ()
    for problem in problems:
        raise ValueError(problem)


def _describing(job: "JobSpec") -> Iterator[str]:
    if job.trains:
        yield "[job] rounds: must be 0 where the job describes the sites' data (describes = true)"
    for network in networks_of(job):
        if network.options.start_sha256 is not None:
            yield f"[{network.table}] start_sha256: no model is sent ([job] describes = true); leave it out"
    if not job.statistics():
        yield f"[job] describes: there is nothing of '{job.task.name}' that could be added up"


def _model(job: "JobSpec") -> Iterator[str]:
    for network in networks_of(job):
        own = network.options
        if own.start_sha256 is None:
            yield (
                f"[{network.table}] start_sha256: is missing, and names the model that is judged "
                "([job] rounds = 0); `wardround job judge RUN` writes such a job"
            )
        yield from (f"[{network.table}] {key}: {_NOTHING}" for key in ("fresh", "lora") if getattr(own, key))
    if specs := job.task.statistics():
        names = ", ".join(spec.name for spec in specs)
        yield (
            f"[task]: needs sums of training patients ({names}), and others would make another model of it; "
            "state them in the job, where the task lets you"
        )


def _rest(job: "JobSpec") -> Iterator[str]:
    if job.strategy.name != "fedavg":
        yield f"[strategy] name: must be 'fedavg', as {_NOTHING}"
    if job.privacy.mechanism != "none":
        yield f"[privacy] mechanism: must be 'none', as {_NOTHING}"
    for key in ("select_best", "patience"):
        if getattr(job.evaluation, key) is not None:
            yield f"[evaluation] {key}: there are no rounds to choose from ([job] rounds = 0)"
    if not job.update.is_plain:
        yield f"[update]: no model is sent, as {_NOTHING}"
