"""The private local training loop: DP-SGD, for patients or for images (Abadi et al., CCS 2016).

Each step draws every unit (a patient, or an image) independently with the same chance, clips its gradient,
adds noise to the sum, and divides by the number of units that was to be expected. Nothing else of the images
enters the model: no loss is read, and an image that breaks the arithmetic raises no error.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from client.clipping import ClippedSum, GhostSum, PerSampleSum
from client.private_plan import expected_units, noise_share, plan
from client.training import (
    Trained,
    TrainingSamples,
    batches_ahead,
    make_optimizer,
    set_learning_rate,
    to_device,
    trainable,
)
from shared.arrays import tensor_of
from shared.batch import Batch
from shared.frozen import train_mode
from shared.job import JobSpec
from shared.models import models_of
from shared.privacy.randomness import Randomness, SecretRandomness
from shared.random_state import drawn_from
from shared.seeds import seed_of
from shared.strategies.vectors import Pull
from shared.tasks.base import Task

_MOST_IMAGES = 32  # in memory at a time, and
_MOST_PIXELS = 2**20  # of them together: activations are a hundred times as much
_MOST_GRADIENTS = 2**28  # bytes of the gradients of all samples in memory
_FEWEST_IMAGES = 8  # where fewer fit into that, norms are found without the gradients


class PrivateSamples(TrainingSamples, Protocol):
    """The training images of a site, and the patient of each."""

    patients: list[str]


class PrivateTraining:
    """Trains a model on a site's samples with differential privacy, one round.

    Args:
        model: Trained in place; built for a private job.
        task: Runs the model.
        samples: The training split.
        job: Batch size (units expected in a step), optimiser, schedule, privacy and so on.
        site: Part of the seeds of augmentation, which needs no secret.
        device: Where the model is.
        units: Number of units by which the plan counts, which may be rounded; None takes those there are.
        randomness: Draws units and noise. None is what the guarantee needs: secrets of the operating system.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        samples: PrivateSamples,
        job: JobSpec,
        *,
        site: str,
        device: torch.device,
        units: int | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        self._model = model
        self._task = task
        self._samples = samples
        self._job = job
        self._site = site
        self._device = device
        self._randomness = randomness or SecretRandomness()
        self._units = units_of(samples.patients, job)
        self._planned = len(self._units) if units is None else units
        self._plan = plan(job, self._planned)
        self._models = models_of(model)
        [self._phase] = task.phases({})  # what is counted, no noise would protect
        self._parameters = trainable(model)
        self._optimizer = make_optimizer(self._parameters, job.training)
        self._images_at_once, self._ghost = physical_batch(job, self._parameters)

    def place(self, vector: NDArray[np.float32]) -> Tensor:
        """Return a packed model's trainable parameters as `pull` gets them; see `shared.strategies`."""
        numbers = sum(parameter.numel() for parameter in self._parameters)
        return tensor_of(vector[:numbers]).to(self._device)

    def run(self, round_: int, pull: Pull | None = None) -> Trained:
        """Train for one round.

        Args:
            round_: The global round, from 1; it sets the learning rate and the seeds of augmentation.
            pull: What a strategy adds to the noisy gradient of each step; it depends on no image.

        Returns:
            Steps and seconds; no loss, which would not be private.
        """
        train_mode(self._model)
        rates: list[float] = []
        kind = GhostSum if self._ghost else PerSampleSum
        clipped = kind(self._model, self._losses, self._job.privacy.max_grad_norm, self._task.targets)
        try:
            with drawn_from(self._randomness.seed(), self._device):  # dropout
                for step in range(self._plan.steps):
                    progress = round_ - 1 + step / self._plan.steps
                    set_learning_rate(self._optimizer, self._job, progress)
                    rates.append(self._optimizer.param_groups[0]["lr"])
                    self._add_up(clipped, round_, step)
                    self._set_gradients(clipped.take())
                    if pull is not None:
                        self._add_to_gradients(pull)
                    self._optimizer.step()
        finally:
            clipped.close()
        return Trained(math.nan, self._plan.steps, math.fsum(rates))

    def _losses(self, batch: Batch) -> Tensor:
        return self._phase.loss(self._models, batch)

    def _add_up(self, clipped: ClippedSum, round_: int, step: int) -> None:
        """Add the clipped gradients of one step's units, as many images at a time as memory has room for."""
        chosen = poisson_sample(self._randomness, len(self._units), self._plan.sample_rate)
        images_of = [self._draw_images(self._units[unit]) for unit in chosen]
        parts = list(micro_batches(images_of, self._images_at_once))
        asked = (indices for indices, _ in parts)
        batches = batches_ahead(
            self._samples,
            self._task,
            asked,
            augment_seed=seed_of(self._job.job.seed, "augment", self._site, round_, step),
            prepare_seed=seed_of(self._job.job.seed, "prepare", self._site, round_, step),
            device=self._device,
        )
        for batch, (_, owners) in zip(batches, parts, strict=True):
            placed = to_device(batch, self._task, self._device, channels_last=self._job.data.dimensions == 2)
            clipped.add(placed, torch.tensor(owners, device=self._device))

    def _draw_images(self, images: NDArray[np.int64]) -> list[int]:
        """Draw the images that speak for a patient in this step, without putting one back."""
        most = self._job.privacy.images_per_patient
        if len(images) <= most:
            return images.tolist()
        return images[np.argsort(self._randomness.uniform(len(images)))[:most]].tolist()

    def _set_gradients(self, sums: list[Tensor]) -> None:
        """Make the gradients of a step: (sum + noise) / expected units; an empty batch is noise alone."""
        whole = self._plan.noise_multiplier * self._job.privacy.max_grad_norm
        deviation = whole * noise_share(self._job)
        expected = expected_units(self._job, self._plan, self._planned)
        for parameter, total in zip(self._parameters, sums, strict=True):
            noise = torch.from_numpy(self._randomness.normal(total.numel())).view(total.shape)
            parameter.grad = total.add_(noise.to(self._device), alpha=deviation).div_(expected)

    @torch.no_grad()
    def _add_to_gradients(self, pull: Pull) -> None:
        """Add to the gradients what a strategy makes of the parameters."""
        parameters = self._parameters
        added = pull(torch.cat([parameter.detach().reshape(-1) for parameter in parameters]))
        parts = torch.split(added, [parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            assert parameter.grad is not None  # noqa: S101 (it was set before)
            parameter.grad.add_(part.view(parameter.shape))


def units_of(patients: Sequence[str], job: JobSpec) -> list[NDArray[np.int64]]:
    """Return the indices of each unit's images: of each patient, or each image by itself."""
    if job.privacy.unit == "image":
        return [np.array([index]) for index in range(len(patients))]
    images: dict[str, list[int]] = {}
    for index, patient in enumerate(patients):
        images.setdefault(patient, []).append(index)
    return [np.array(indices) for indices in images.values()]


def poisson_sample(randomness: Randomness, units: int, rate: float) -> list[int]:
    """Draw each unit independently with the same chance: what the accountants assume."""
    return np.flatnonzero(randomness.uniform(units) < rate).tolist()


def micro_batches(images_of: Sequence[list[int]], most: int) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the images of whole units, with the unit of each counted from 0.

    Args:
        images_of: The images of each unit.
        most: Images at a time; a unit that has more goes alone.
    """
    indices: list[int] = []
    owners: list[int] = []
    for images in images_of:
        if indices and len(indices) + len(images) > most:
            yield indices, owners
            indices, owners = [], []
        owners += [owners[-1] + 1 if owners else 0] * len(images)
        indices += images
    if indices:
        yield indices, owners


def physical_batch(job: JobSpec, parameters: Sequence[nn.Parameter]) -> tuple[int, bool]:
    """Return how many images to have in memory at a time, and whether to clip without their gradients.

    Holding every sample's gradient is faster for small networks and out of the question for large ones.
    """
    pixels = math.prod(job.data.patch or job.data.size or [])
    images = max(1, min(_MOST_IMAGES, _MOST_PIXELS // pixels))
    gradients = _MOST_GRADIENTS // sum(4 * parameter.numel() for parameter in parameters)
    single = job.privacy.images_per_patient == 1
    if single and gradients < _FEWEST_IMAGES:
        return images, True
    return max(1, min(images, gradients)), False
