"""Whether what a model draws are copies of the images that it was trained on."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from client.membership.population import Population
from shared.job.schema import JobSpec
from shared.networks.build import models_of
from shared.seeds import seed_of
from shared.tasks import make_task

_DRAWN = 256  # images
_AT_ONCE = 32  # of them, or of a site's
_REPLICATES = 1000


@dataclass(frozen=True)
class Copies:
    """How near drawn images lie to those trained on, beside those held out.

    Attributes:
        drawn: Images that the model drew.
        patients: That are compared of either side; fewer give larger distances.
        ratio: Median over the drawn images of the distance to the nearest image that was trained on, over the
            distance to the nearest that was held out. About 1 where the model knows no patient better than
            another, near 0 where it draws copies.
        ratio_interval: 95 %, over draws of images and of as many patients of the larger side.
    """

    drawn: int
    patients: int
    ratio: float
    ratio_interval: tuple[float, float]


def find_copies(model: nn.Module, job: JobSpec, population: Population) -> Copies | None:
    """Let a model draw, and look for the nearest images of a site; None where its task draws none.

    The comparison of Meehan et al. 2020 ("A non-parametric test to detect data-copying in generative models")
    with distances of pixels. Each replicate draws images anew, and takes as many patients of either side, as
    of more images the nearest is nearer.

    Args:
        model: On the device where it draws.
        job: What it was trained by.
        population: The site's patients.
    """
    device = next(model.parameters()).device
    distances = _distances(model, job, population, device)
    if distances is None:
        return None
    sides = [_nearest_of_patients(distances, population, side) for side in (True, False)]
    few = min(side.shape[1] for side in sides)
    generator = np.random.default_rng(seed_of(job.job.seed, "copies"))
    ratios = []
    for _ in range(_REPLICATES):
        rows = generator.integers(len(distances), size=len(distances))
        trained, held = (
            side[np.ix_(rows, generator.choice(side.shape[1], few, replace=False))].min(axis=1)
            for side in sides
        )
        ratios.append(float(np.median(trained / np.maximum(held, np.finfo(np.float32).tiny))))
    low, middle, high = np.quantile(ratios, [0.025, 0.5, 0.975]).tolist()
    return Copies(len(distances), few, middle, (low, high))


def _distances(
    model: nn.Module, job: JobSpec, population: Population, device: torch.device
) -> NDArray[np.float32] | None:
    """Return the distance of each drawn image to each of the site, (drawn, images)."""
    task, models = make_task(job), models_of(model)
    rows = []
    for start in range(0, _DRAWN, _AT_ONCE):
        drawn = task.draw(models, _AT_ONCE, seed_of(job.job.seed, "copies", start))
        if drawn is None:
            return None
        rows.append(_to_images(drawn.flatten(1), population, device))
    return np.concatenate(rows)


def _to_images(drawn: Tensor, population: Population, device: torch.device) -> NDArray[np.float32]:
    """Return the distance of drawn images (B, numbers) to each of a site, (B, images)."""
    count = len(population.samples)
    parts = [range(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE)]
    images = (population.samples.batch(part)["image"].to(device).flatten(1) for part in parts)
    return torch.cat([torch.cdist(drawn.float(), own) for own in images], dim=1).cpu().numpy()


def _nearest_of_patients(
    distances: NDArray[np.float32], population: Population, side: bool
) -> NDArray[np.float32]:
    """Return the distance to the nearest image of each patient of a side, (drawn, patients)."""
    patients = np.flatnonzero(population.members == side)
    return np.stack([distances[:, population.owners == one].min(axis=1) for one in patients], axis=1)
