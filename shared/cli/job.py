"""`wardround job`: check, describe and begin job files."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli.answer import Json, answer
from shared.cli.app import App
from shared.cli.judge import judge
from shared.cli.start import start, starts_in_words

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_LARGE = 100.0  # MB of a model, above which its copies are what takes memory

job_app = App(
    help="Check a job file, print its schema, begin a new one.",
)
job_app.command()(start)
job_app.command()(judge)


@job_app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Job file (TOML).", show_default=False)], json: Json = False
) -> None:
    """Say whether a job file is valid, and if not, everything that is wrong with it.

    Weights that it starts from are matched with its network where they lie beside it.
    """
    from shared.further_metrics import METRICS
    from shared.job.rules import about_model_megabytes
    from shared.job.schema import load_job
    from shared.job_parts import networks_of
    from shared.networks import NETWORKS
    from shared.strategies import STRATEGIES
    from shared.tasks import TASKS
    from shared.text.phrase import phrase

    job = load_job(file)
    training, data, networks = job.training, job.data, [network.options for network in networks_of(job)]
    size = " x ".join(map(str, data.size or data.patch or []))
    arithmetic = f", {training.precision}" if training.precision != "float32" else ""
    arithmetic += ", compiled at each site whose policy allows it" if training.compile else ""
    length = f"epochs a round: {training.local_epochs}"
    if training.local_steps:
        length = f"steps a round: {training.local_steps}"
    metrics = [metric.name + METRICS.origin(metric.name) for metric in job.evaluation.metrics]
    facts = {
        "name": job.job.name,
        "task": job.task.subject + TASKS.origin(job.task.name),
        "digest": job.digest(),
        "phrase": phrase(job.digest()),
        "data": job.job.dataset + (f", {size}" if size else ""),
        "model": ", ".join(dict.fromkeys(own.in_words + NETWORKS.origin(own.name) for own in networks)),
        "training": f"{length}, {', '.join(_optimizers(job))}{arithmetic}",
        "strategy": f"{job.strategy.name}{STRATEGIES.origin(job.strategy.name)}, {_rounds(job)}, "
        f"at least {job.strategy.min_sites} sites",
        **({"metrics": ", ".join(metrics)} if metrics else {}),
    }
    if (megabytes := about_model_megabytes(job)) > _LARGE:
        facts["memory"] = _memory(job, megabytes / 1000)
    if any(own.start_sha256 for own in networks):
        facts["start"] = starts_in_words(job, file.parent)
    said = [f"{file}: valid", *(f"  {name:<9} {value}" for name, value in facts.items())]
    answer(json, said, file=file, **facts)


def _memory(job: "JobSpec", size: float) -> str:
    """Return about how much memory a large model needs; docs/benchmarks.md has what was measured.

    Args:
        job: Its optimisers keep moments.
        size: Of the model, in GB.
    """
    from shared.job_parts import phases_of

    phases = phases_of(job).values()
    moments = max((2 if own.optimizer != "sgd" else int(own.momentum > 0) for own in phases), default=0)
    private = " and the gradients of single samples" if job.privacy.mechanism == "dp-sgd" else ""
    return (
        f"a model of {size:.1f} GB: about {(4.5 + moments) * size + 0.5:.1f} GB at each site beside images"
        f"{private}, {3 * size + 0.7:.1f} to {5 * size + 0.7:.1f} GB at the coordinator, and {size:.1f} GB "
        "of its disk for each site"
    )


def _rounds(job: "JobSpec") -> str:
    from shared.text.plural import many

    if job.job.describes:
        return "nothing is trained, the data are described"
    return many(job.job.rounds, "round") if job.trains else "nothing is trained, the start is judged"


def _optimizers(job: "JobSpec") -> Iterator[str]:
    """Yield how each phase of the training is minimised."""
    from shared.job_parts import phases_of

    phases = phases_of(job)
    for phase, own in phases.items():
        what = f"{own.optimizer}, learning rate {own.learning_rate:g}"
        yield what if len(phases) == 1 else f"{phase.name} with {what}"


@job_app.command()
def schema() -> None:
    """Print the JSON Schema of a job file."""
    from shared.job.schema import JobSpec
    from shared.json_schema import schema_text

    print(schema_text(JobSpec), end="")
