"""What a job of no rounds must say: a whole model, and nothing that belongs to a training."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from shared.job_parts import networks_of

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_NOTHING = "nothing is trained ([job] rounds = 0)"


def check_judging(job: "JobSpec") -> None:
    """Raise ValueError where a job that trains nothing names no whole model, or says how to train one."""
    if not job.trains:
        for problem in (*_model(job), *_rest(job)):
            raise ValueError(problem)


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
