"""A job in words: what was asked, for a person who has not read its file."""

from collections.abc import Iterator, Mapping
from typing import Any

from server.report.content import words
from shared.job.schema import JobSpec
from shared.job_parts import networks_of, phases_of
from shared.text.plural import many
from shared.web.tables import Table


def asked(job: JobSpec) -> Table:
    """Return what a job asks for, a line for each choice."""
    return Table("asked", "The job", ("what", "choice"), list(_choices(job)))


def _choices(job: JobSpec) -> Iterator[tuple[str, str]]:
    training = job.training
    yield "task", job.task.subject
    yield "data", _data(job)
    yield "network", ", ".join(_network(own.options.name, own.role, own.table) for own in networks_of(job))
    if not job.trains:
        sites = many(job.strategy.min_sites, "site")
        what = "the model that the job names is judged" if job.judges else "the data are described"
        yield "training", f"none: {what} at {sites} or more"
        return
    length = f"{many(training.local_epochs or 1, 'epoch')} in each round"
    if training.local_steps:
        length = f"{many(training.local_steps, 'step')} in each round"
    for phase, own in phases_of(job).items():
        name = "training" if phase.name == "train" else f"training of {phase.name}"
        yield (
            name,
            f"{length}, batches of {training.batch_size}, {own.optimizer}, "
            f"learning rate {own.learning_rate:g}",
        )
    sites = many(job.strategy.min_sites, "site")
    yield "strategy", f"{job.strategy.name}, {many(job.job.rounds, 'round')}, at least {sites} in each"
    yield "best round", _best(job)
    yield "privacy", privacy_of(job)
    yield "seed", str(job.job.seed)


def _data(job: JobSpec) -> str:
    size = " x ".join(map(str, job.data.size or job.data.patch or []))
    spacing = " x ".join(f"{length:g}" for length in job.data.spacing or [])
    parts = [job.job.dataset]
    if size:
        parts.append(f"{'crops' if job.data.patch and not job.data.size else 'images'} of {size}")
    if spacing:
        parts.append(f"{spacing} mm apart")
    if job.data.augment:
        parts.append(f"augmented by {', '.join(job.data.augment)}")
    return ", ".join(parts)


def _network(name: str, role: str, table: str) -> str:
    return name if table == "model" else f"{name} ({role})"


def _best(job: JobSpec) -> str:
    chosen = job.evaluation.select_best
    if job.evaluation.average_last is not None:
        return f"none: the mean of the last {job.evaluation.average_last}, nothing chooses"
    if (decay := job.evaluation.average_decay) is not None:
        return f"none: the moving average of all, each counting {decay:g} of the next; nothing chooses"
    if chosen is None:
        return "the last one: nothing chooses"
    patience = job.evaluation.patience
    text = f"the one with the best {words(chosen)} on validation patients"
    return (
        text if patience is None else f"{text}; stopped after {many(patience, 'round')} without a better one"
    )


def privacy_of(job: JobSpec) -> str:
    """Return how a job protects patients."""
    privacy = job.privacy
    masked = "the coordinator sees only the sum of the updates" if privacy.secure_aggregation else ""
    if privacy.mechanism == "none":
        return masked or "no differential privacy"
    unit = "site" if privacy.mechanism == "site-level" else privacy.unit
    amount = f"noise multiplier {privacy.noise_multiplier}"
    if privacy.epsilon is not None:
        amount = f"epsilon {privacy.epsilon:g}, delta {privacy.delta:g}"
    text = f"{privacy.mechanism}, for each {unit}: {amount}"
    return f"{text}; {masked}" if masked else text


def tested_model(about: Mapping[str, Any]) -> str:
    """Return which model was tested, for the middle of a sentence, by what `run.json` says."""
    if not about.get("rounds"):
        return "the model that the job names"
    evaluation = (about.get("job") or {}).get("evaluation", {})
    if averaged := evaluation.get("average_last"):
        return f"the mean of the models of the last {averaged} of {about.get('rounds')} rounds"
    if evaluation.get("average_decay"):
        return f"the moving average of the models of {about.get('rounds')} rounds"
    return f"the model of round {about.get('tested_round')} of {about.get('rounds')}"
