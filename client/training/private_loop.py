"""The private local training loop: DP-SGD, for patients or for images (Abadi et al., CCS 2016).

Each step draws every unit (a patient, or an image) independently with the same chance, clips its gradient,
adds noise to the sum, and divides by the number of units that was to be expected. Nothing else of the images
enters the model: no loss is read, and an image that breaks the arithmetic raises no error.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from client.training.adversarial import attacked
from client.training.clipping import ClippedSum, GhostSum, PerSampleSum
from client.training.loop import Trained, TrainingSamples, batches_ahead, to_device
from client.training.phases import Work, declared_phases, drawn_batch, summed_rates
from client.training.private_plan import expected_units, noise_share, plan
from client.training.teacher import Teacher
from shared.batch import Batch
from shared.errors import WardroundError
from shared.job.schema import JobSpec
from shared.job_parts import phases_of, phases_with_data
from shared.networks.build import models_of
from shared.networks.frozen_parts import train_mode, trainable
from shared.networks.random_state import drawn_from
from shared.privacy.randomness import Randomness, SecretRandomness
from shared.seeds import seed_of
from shared.strategies.vectors import Pull, Steps
from shared.tasks.base import Phase, Task
from shared.wire.packed_model import tensor_of

_MOST_IMAGES = 32  # in memory at a time, and
_MOST_PIXELS = 2**20  # of them together: activations are a hundred times as much
_MOST_GRADIENTS = 2**28  # bytes of the gradients of all samples in memory
_FEWEST_IMAGES = 8  # where fewer fit into that, norms are found without the gradients
_PLAIN = Steps()


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
        self._steps = self._plan.steps // phases_with_data(job)
        networks = models_of(model)
        self._teacher = Teacher.of(task, networks)
        self._models = {**networks, **(self._teacher.networks if self._teacher else {})}
        self._parameters = trainable(model)
        if task.statistics:
            raise ValueError("what was counted before the first round, no noise protects")
        self._works = [Work(own, job.job.rounds) for own in declared_phases(job, task, networks)]
        self._hooked = {work.name: self._module(work) for work in self._works}
        self._sums: dict[str, ClippedSum] = {}
        _require_private(job, [work.phase for work in self._works])

    def place(self, vector: NDArray[np.float32]) -> Tensor:
        """Return a packed model's trainable parameters as `pull` gets them; see `shared.strategies`."""
        numbers = sum(parameter.numel() for parameter in self._parameters)
        return tensor_of(vector[:numbers]).to(self._device)

    def run(self, round_: int, steps: Steps = _PLAIN) -> Trained:
        """Train for one round.

        Args:
            round_: The global round, from 1; it sets the learning rate and the seeds of augmentation.
            steps: What a strategy adds to the noisy gradient of each step; it depends on no image.

        Returns:
            Steps and rates; no loss, which would not be private.

        Raises:
            ValueError: The strategy asks for more than the noise is planned for.
        """
        others = (steps.free, steps.beside, steps.contrast, steps.alignment)
        if steps.radius or any(own is not None for own in others):
            raise ValueError("private steps are taken from where the model is, and by all that is trained")
        train_mode(self._model)
        for work in self._works:
            work.begin()
        if self._teacher is not None:
            self._teacher.begin()
        try:
            with drawn_from(self._randomness.seed(), self._device):  # dropout
                for step in range(self._steps):
                    for work in self._works:
                        work.set_rate(round_ - 1 + step / self._steps)
                        self._descend(work, steps.pull, round_, step)
                    if self._teacher is not None:
                        self._teacher.follow()
        finally:
            self._close()
        return Trained(math.nan, self._steps, summed_rates(self._works, self._parameters))

    def _descend(self, work: Work, pull: Pull | None, round_: int, step: int) -> None:
        """Take one step of a phase: with noise, where it sees data."""
        if work.phase.sees_data:
            self._set_gradients(work, self._clipped_sum(work, round_, step))
        else:
            self._drawn_gradients(work, round_, step)
        if pull is not None:
            self._add_to_gradients(work, pull)
        work.optimizer.step()

    def _drawn_gradients(self, work: Work, round_: int, step: int) -> None:
        """Make the gradients of a phase that sees no data: the number of samples too is nobody's."""
        seed = seed_of(self._job.job.seed, "nobody", self._site, round_, step)
        batch = drawn_batch(self._job, self._task, seed)
        most = physical_batch(self._job, work.parameters)[0] if work.phase.per_sample else len(batch)
        work.optimizer.zero_grad()
        for first in range(0, len(batch), most):
            part = batch.chosen(range(first, min(first + most, len(batch))))
            loss = work.phase.loss(self._models, self._placed(part)).mean() * (len(part) / len(batch))
            loss.backward(inputs=work.parameters)

    def _clipped_sum(self, work: Work, round_: int, step: int) -> list[Tensor]:
        """Return the sum of the clipped gradients of units that are drawn for this phase alone.

        Drawn once for several phases, they would cost more than as many steps do: what amplifies the privacy
        of a step is that nobody knows who is in it.
        """
        clipped = self._sums.get(work.name) or self._open(work)
        self._add_up(clipped, work, round_, step)
        sums = clipped.take()
        if len(self._works) > 1:  # hooks of this phase must see nothing of the others
            self._close()
        return sums

    def _module(self, work: Work) -> nn.Module:
        """Return the networks that a phase changes as one module, for hooks."""
        networks = [self._models[role] for role in work.phase.networks]
        return networks[0] if len(networks) == 1 else nn.ModuleList(networks)

    def _open(self, work: Work) -> ClippedSum:
        _, ghost = physical_batch(self._job, work.parameters)
        kind = GhostSum if ghost else PerSampleSum
        self._sums[work.name] = kind(
            self._hooked[work.name],
            partial(work.phase.loss, self._models),
            self._job.privacy.max_grad_norm,
            self._task.targets,
            name=work.name,
        )
        return self._sums[work.name]

    def _close(self) -> None:
        for clipped in self._sums.values():
            clipped.close()
        self._sums.clear()

    def _placed(self, batch: Batch) -> Batch:
        return to_device(batch, self._task, self._device, channels_last=self._job.data.dimensions == 2)

    def _add_up(self, clipped: ClippedSum, work: Work, round_: int, step: int) -> None:
        """Add the clipped gradients of one step's units, as many images at a time as memory has room for."""
        chosen = poisson_sample(self._randomness, len(self._units), self._plan.sample_rate)
        images_of = [self._draw_images(self._units[unit]) for unit in chosen]
        most, _ = physical_batch(self._job, work.parameters)
        parts = list(micro_batches(images_of, most))
        asked = (indices for indices, _ in parts)
        seed = seed_of(self._job.job.seed, "augment", self._site, round_, step)
        prepare = partial(self._prepared_alone, round_, step)
        batches = batches_ahead(self._samples, enumerate(asked), prepare, seed, self._device)
        for batch, (_, owners) in zip(batches, parts, strict=True):
            placed = self._placed(batch).at(round_ - 1 + step / self._steps)
            with clipped.unseen():
                placed = attacked(placed, self._job, work.phase, self._models, seed)
            clipped.add(placed, torch.tensor(owners, device=self._device))

    def _prepared_alone(self, round_: int, step: int, batch: Batch, _: int) -> Batch:
        """Prepare each sample by itself: what is drawn for one must not depend on who else is drawn."""
        if type(self._task).prepare is Task.prepare:
            return batch
        alone = (batch.chosen([place]) for place in range(len(batch)))
        seeds = batch.seeds(seed_of(self._job.job.seed, "prepare", self._site, round_, step))
        return Batch.joined([self._task.prepare(one, own) for one, own in zip(alone, seeds, strict=True)])

    def _draw_images(self, images: NDArray[np.int64]) -> list[int]:
        """Draw the images that speak for a patient in this step, without putting one back."""
        most = self._job.privacy.images_per_patient
        if len(images) <= most:
            return images.tolist()
        return images[np.argsort(self._randomness.uniform(len(images)))[:most]].tolist()

    def _set_gradients(self, work: Work, sums: list[Tensor]) -> None:
        """Make the gradients of a step: (sum + noise) / expected units; an empty batch is noise alone."""
        whole = self._plan.noise_multiplier * self._job.privacy.max_grad_norm
        deviation = whole * noise_share(self._job)
        expected = expected_units(self._job, self._plan, self._planned)
        for parameter, total in zip(work.parameters, sums, strict=True):
            noise = torch.from_numpy(self._randomness.normal(total.numel())).view(total.shape)
            parameter.grad = total.add_(noise.to(self._device), alpha=deviation).div_(expected)

    @torch.no_grad()
    def _add_to_gradients(self, work: Work, pull: Pull) -> None:
        """Add to the gradients of a phase what a strategy makes of all parameters."""
        added = pull(torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters]))
        parts = torch.split(added, [parameter.numel() for parameter in self._parameters])
        of_phase = set(work.parameters)
        for parameter, part in zip(self._parameters, parts, strict=True):
            if parameter in of_phase and parameter.grad is not None:
                parameter.grad.add_(part.view(parameter.shape))


def _require_private(job: JobSpec, phases: Sequence[Phase]) -> None:
    """Check that phases are as their options say: the promise of a private job rests on it."""
    known = {spec.name: spec for spec in phases_of(job)}
    for phase in phases:
        if phase.sees_data != known[phase.name].sees_data or (phase.sees_data and not phase.per_sample):
            raise WardroundError(
                f"the phase '{phase.name}' has no loss of single samples, or sees more than its options say, "
                "so what one of them changes can't be bounded",
                where=f"[task] name '{job.task.name}'",
                remedy="Take another task for private training.",
            )


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
