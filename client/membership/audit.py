"""The audit of one model at one site: both attacks, on all of its patients."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from client.membership.attacks import confidences, image_losses, likelihood_ratio
from client.membership.figures import Leak, leak
from client.membership.population import Population
from client.membership.shadows import halves, train_model
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks.build import Files
from shared.seeds import seed_of
from shared.tasks import make_task
from shared.tasks.base import Statistics

THRESHOLD, RATIO = "loss threshold", "likelihood ratio"

Track = Callable[[Iterable[NDArray[np.bool_]], int], Iterable[NDArray[np.bool_]]]
"""(halves, their number) -> the same, while progress is shown."""


@dataclass(frozen=True)
class Audit:
    """What the attacks achieved on a model, over patients.

    Attributes:
        members: Patients who were trained on.
        others: Patients who were held out.
        shadows: Models that the likelihood ratio compares with.
        leaks: By the name of the attack.
    """

    members: int
    others: int
    shadows: int
    leaks: dict[str, Leak]

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return asdict(self) | {"smallest_false_positive_rate": 1 / self.others}


def audit_model(
    model: nn.Module,
    job: JobSpec,
    population: Population,
    *,
    rounds: int,
    shadows: int,
    statistics: Statistics,
    files: Files | None = None,
    track: Track = lambda items, _: items,
) -> Audit:
    """Attack a model; arguments and errors are those of `audit_models`."""
    found = audit_models(
        {"": model},
        job,
        population,
        rounds=rounds,
        shadows=shadows,
        statistics=statistics,
        files=files,
        track=track,
    )
    return found[""]


def audit_models(
    models: Mapping[str, nn.Module],
    job: JobSpec,
    population: Population,
    *,
    rounds: int,
    shadows: int,
    statistics: Statistics,
    files: Files | None = None,
    track: Track = lambda items, _: items,
) -> dict[str, Audit]:
    """Attack several models of one job with the same shadow models.

    Args:
        models: By name, on the device where shadow models are trained too.
        job: What it was trained by.
        population: The site's patients.
        rounds: That the model took.
        shadows: Shadow models to train, an even number from 4.
        statistics: Of the site, that the job's loss needs, and those of all sites that the job asks for.
        files: Of weights that the job starts from, as for `build_model`.
        track: Shows progress over the shadow models.

    Raises:
        JobError: The number of shadow models is odd or too small, or losses say little of single images.
    """
    if shadows < 4 or shadows % 2:
        raise JobError(f"{shadows} shadow models can't be split into halves", remedy="Give 4, 6, 8 or so.")
    if job.task.learns_unlabelled:
        raise JobError(
            "the attacks look at the loss of each image, and one without a label has none",
            where="[task.unlabelled]",
            remedy="Audit a run that leaves them out: method = 'leave-out'.",
        )
    if not all(phase.per_sample for phase in make_task(job, statistics).phases()):
        raise JobError("the loss compares patients with each other, and so says little about one of them")
    losses = {name: image_losses(model, job, population, statistics) for name, model in models.items()}
    device = next(next(iter(models.values())).parameters()).device
    seed = seed_of(job.job.seed, "shadows")
    insides, known = [], []
    drawn = halves(len(population.members), shadows, seed)
    for number, inside in enumerate(track(drawn, shadows)):
        shadow = train_model(
            job,
            population.chosen(inside),
            name=f"shadow {number}",
            rounds=rounds,
            device=device,
            statistics=statistics,
            files=files or {},
        )
        insides.append(inside)
        known.append(population.by_patient(confidences(image_losses(shadow, job, population, statistics))))
    compared = np.stack(known), np.stack(insides)
    return {
        name: _audit(own, population, compared, shadows, job.privacy.delta) for name, own in losses.items()
    }


def _audit(
    losses: NDArray[np.float64],
    population: Population,
    compared: tuple[NDArray[np.float64], NDArray[np.bool_]],
    shadows: int,
    delta: float,
) -> Audit:
    target = population.by_patient(confidences(losses))
    scores = {
        THRESHOLD: -population.by_patient(losses),
        RATIO: likelihood_ratio(target, *compared),
    }
    members = population.members
    leaks = {name: leak(score[members], score[~members], delta) for name, score in scores.items()}
    return Audit(int(members.sum()), int((~members).sum()), shadows, leaks)
