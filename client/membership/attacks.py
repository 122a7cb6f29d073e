"""Two attacks that guess from a model's outputs whether a patient was trained on.

The loss threshold (Yeom et al., CSF 2018): who was trained on has a lower loss. The likelihood ratio (LiRA,
Carlini et al., S&P 2022): who was trained on has a lower loss than models have that never saw the patient.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client.membership.population import Population
from shared.job import JobSpec
from shared.tasks import make_task

_BATCH = 32
_LEAST_LOSS = 1e-12  # doubles tell no smaller ones apart
_LARGEST_LOSS = 500.0

Values = NDArray[np.float64]


def image_losses(model: nn.Module, job: JobSpec, population: Population) -> Values:
    """Return the loss of each image, (images,), without augmentation, in double precision."""
    task, device = make_task(job), next(model.parameters()).device
    losses = []
    for indices in population.samples.batches(_BATCH):
        batch = population.samples.batch(indices)
        with torch.no_grad():
            logits = task.predict(model, batch[task.input].to(device)).double()
            targets = batch[task.target].to(device)
            losses.append(
                task.sample_losses(logits, targets.double() if targets.is_floating_point() else targets)
            )
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
