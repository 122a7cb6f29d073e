"""Two attacks that guess from a model's outputs whether a patient was trained on.

The loss threshold (Yeom et al., CSF 2018): who was trained on has a lower loss. The likelihood ratio (LiRA,
Carlini et al., S&P 2022): who was trained on has a lower loss than models have that never saw the patient.
"""

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor, nn

from client.membership.population import Population
from client.work.warm_networks import predictions
from shared.job.schema import JobSpec
from shared.networks.build import models_of
from shared.tasks import make_task
from shared.tasks.base import Statistics

_LEAST_LOSS = 1e-12  # doubles tell no smaller ones apart
_LARGEST_LOSS = 500.0

Values = NDArray[np.float64]


def image_losses(
    model: nn.Module, job: JobSpec, population: Population, statistics: Statistics | None = None
) -> Values:
    """Return the loss of each image, (images,), without augmentation.

    From what the networks give, which is float32, the loss is computed in double precision: one near 0 would
    be 0. A focal loss, and a loss that runs a network again (a discriminator's of real images), is not.

    Args:
        model: The model.
        job: What it was trained by.
        population: Whose images.
        statistics: Of all sites, that the job asks for.
    """
    task, models = make_task(job, statistics), models_of(model)

    def widened(name: str, value: Tensor) -> Tensor:
        return value.double() if name in task.targets and value.is_floating_point() else value

    losses = []
    with eval_mode(model):
        for batch, predicted in predictions(task, models, population.samples):
            exact = {name: value.double() for name, value in predicted.items()}
            losses.append(task.sample_losses(models, batch.each(widened), exact))
    return torch.cat(losses).double().cpu().numpy()


def confidences(losses: Values) -> Values:
    """Return log(p / (1 - p)) for p = exp(-loss): nearly normal over models (Carlini et al., section V.A)."""
    return -np.log(np.expm1(losses.clip(_LEAST_LOSS, _LARGEST_LOSS)))


def likelihood_ratio(target: Values, shadows: Values, inside: NDArray[np.bool_]) -> Values:
    """Return how much better a patient does than under models without them, in standard deviations.

    LiRA's offline variant with one variance for all patients (section VI.A: with few shadow models the
    variance of each patient is too rough).

    Args:
        target: Confidence in each patient, (patients,).
        shadows: The same of each shadow model, (models, patients).
        inside: Whether the shadow model was trained on the patient, (models, patients).
    """
    outside = np.ma.array(shadows, mask=inside)
    mean = outside.mean(0)
    freedom = (~inside).sum() - len(target)
    deviation = np.sqrt(((outside - mean) ** 2).sum() / freedom)
    return np.asarray((target - mean) / deviation, dtype=np.float64)
