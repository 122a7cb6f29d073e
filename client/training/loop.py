"""The local training loop: plain PyTorch, seeded by the job's seed, the round and the site's name."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from client.data.samples.read_ahead import ahead
from client.training.adversarial import attacked
from client.training.channels_last import suit_channels_last
from client.training.feature_contrast import FeatureAlignment, FeatureContrast
from client.training.flat_parameters import FlatParameters, Held
from client.training.halfway import Halfway, Parts
from client.training.phases import Work, declared_phases, drawn_batch, summed_rates
from client.training.prelu import suit_processor
from client.training.sample_order import SampleOrder
from client.training.second_model import SecondModel
from client.training.teacher import Teacher
from shared.batch import Batch
from shared.errors import WardroundError
from shared.job.schema import JobSpec
from shared.networks.build import models_of
from shared.networks.encoder import Encoder
from shared.networks.frozen_parts import train_mode, trainable
from shared.networks.random_state import drawn_from
from shared.seeds import seed_of
from shared.strategies.vectors import Steps
from shared.tasks.base import Task
from shared.wire.packed_model import tensor_of

_CHECK_EVERY = 20  # steps between two looks at the loss: reading it stalls a GPU
_PLAIN = Steps()
_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TrainingError(WardroundError):
    """A training that went wrong; its update is not sent."""


class TrainingSamples(Protocol):
    """The training images of a site, or of several sites pooled."""

    @property
    def on_disk(self) -> bool: ...  # noqa: D102
    def __len__(self) -> int: ...
    def batch(self, indices: Sequence[int], *, augment_seed: int | None = None) -> Batch:  # noqa: D102
        ...


@dataclass(frozen=True)
class Trained:
    """What one round of local training did."""

    loss: float  # of the first phase, mean over the steps
    steps: int
    rates: float | NDArray[np.float32]  # see `summed_rates`


def place_model(model: nn.Module, job: JobSpec, device: torch.device) -> nn.Module:
    """Put a network on a device, with the layout in memory in which it is trained.

    The features of images that are the same in each round are remembered, if a frozen part makes them.
    """
    model = model.to(device)
    if not job.data.augment and job.training.adversarial is None:
        for module in model.modules():
            if isinstance(module, Encoder):
                module.remember()
    own_layers = job.privacy.mechanism != "dp-sgd"  # Opacus knows the gradients of PyTorch's own alone
    if own_layers:
        suit_processor(model)
    if job.data.dimensions != 2:
        return model
    if own_layers:
        suit_channels_last(model)
    # 1.1 to 1.6 times as fast on a CPU, more on a GPU
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class LocalTraining:
    """Trains a model on a site's samples, round by round.

    A federated site makes a new one for each round, so that nothing but the global model carries over; a
    training without federation keeps one, and with it the state of the optimiser.

    Args:
        model: Trained in place.
        task: Says what a step does; it has the statistics that it needs.
        samples: The training split.
        job: Batch size, optimiser, schedule and so on.
        site: Part of every seed.
        device: Where the model is.
        order: Says which images each step takes; without it an order that follows from the job's seed alone,
            for what does not leave.
        parameters: The model's trainable ones, where they have been laid out before.
        seed: Of all that is drawn; the job's where it is None.

    Attributes:
        works: The phases of a step. That of a single network has one tensor to step.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        samples: TrainingSamples,
        job: JobSpec,
        *,
        site: str,
        device: torch.device,
        order: SampleOrder | None = None,
        parameters: FlatParameters | None = None,
        seed: int | None = None,
    ) -> None:
        self._model = model
        self._seed = job.job.seed if seed is None else seed
        self._task = task
        self._samples = samples
        self._job = job
        self._site = site
        self._device = device
        networks = _in_training(models_of(model), job)
        self._teacher = Teacher.of(task, models_of(model))
        self._models = {**networks, **(self._teacher.networks if self._teacher else {})}
        self._order = order or SampleOrder.public(job, len(samples), site)
        self._parameters = parameters or FlatParameters(trainable(model))
        self.works = [
            Work(declared, job.job.rounds, self._parameters.runs)
            for declared in declared_phases(job, task, networks)
        ]
        self._autocast = _AUTOCAST.get(job.training.precision)
        self._scaler = torch.amp.GradScaler(device.type) if self._autocast is torch.float16 else None
        self._channels_last = job.data.dimensions == 2
        self._steps = _PLAIN
        self._held: Held | None = None
        self._second: SecondModel | None = None
        self._contrast: FeatureContrast | FeatureAlignment | None = None

    def place(self, vector: NDArray[np.float32]) -> Tensor:
        """Return a packed model's trainable parameters as `pull` gets them; see `shared.strategies`."""
        return self._parameters.laid_out(tensor_of(vector[: self._parameters.vector.numel()]))

    def run(self, round_: int, steps: Steps = _PLAIN, halfway: Halfway | None = None) -> Trained:
        """Train for one round.

        Args:
            round_: The global round, from 1; it sets the learning rate and the seeds.
            steps: How a strategy changes each step.
            halfway: Keeps what has been done, and has what was done before this process; None keeps nothing.

        Raises:
            TrainingError: The loss is no longer a number.
            SiteError: The network can't be compiled.
        """
        train_mode(self._model)
        self._parameters.collect_gradients()
        for work in self.works:
            work.begin()
        if self._teacher is not None:
            self._teacher.begin()
        self._follow(steps)
        total = torch.zeros((), device=self._device)
        seed = seed_of(self._seed, "train", self._site, round_)
        with drawn_from(seed, self._device), _compiling(self._job, self._site):  # dropout
            done = Parts(self._models, self.works, total, self._scaler)
            first = 0 if halfway is None else halfway.take_up(done)
            for step, batch in enumerate(self._batches(round_, first), first):
                total += self._step(batch, round_, step)
                if (step + 1) % _CHECK_EVERY == 0:
                    self._check(total, round_)
                if halfway is not None and halfway.is_due:
                    halfway.write(done, step + 1)
            if halfway is not None:
                halfway.write(done, self._order.steps, is_end=True)
        self._check(total, round_)
        if self._second is not None:
            self._second.end()
        count = self._order.steps
        return Trained(total.item() / count, count, summed_rates(self.works, trainable(self._model)))

    def let_go(self) -> None:
        """Free the memory of gradients and moments: this training goes no further."""
        self._parameters.let_gradients_go()
        for work in self.works:
            work.optimizer.zero_grad()
            work.optimizer.state.clear()

    def _follow(self, steps: Steps) -> None:
        """Change the steps of a round as its strategy asks."""
        self._steps = steps
        self._held = None if steps.free is None else Held(self._parameters, steps.free)
        self._second = self._contrast = None
        if steps.beside is not None:
            self._second = SecondModel(self._model, self._parameters, steps.beside)
        if steps.contrast is not None:
            self._contrast = FeatureContrast(self._model, self._task, steps.contrast)
        if steps.alignment is not None:
            self._contrast = FeatureAlignment(steps.alignment)

    def _batches(self, round_: int, first: int) -> Iterator[Batch]:
        def prepare(batch: Batch, number: int) -> Batch:
            return self._task.prepare(batch, seed_of(self._seed, "prepare", self._site, round_, number))

        seed = seed_of(self._seed, "augment", self._site, round_)
        asked = islice(enumerate(self._order.batches(round_)), first, None)
        return batches_ahead(self._samples, asked, prepare, seed, self._device)

    def _step(self, batch: Batch, round_: int, step: int) -> Tensor:
        """Go through the phases with a batch; returns the loss of the first one."""
        batch = to_device(batch, self._task, self._device, channels_last=self._channels_last)
        batch = self._attacked(batch, round_, step)
        rounds = round_ - 1 + step / self._order.steps
        losses = []
        for work in self.works:
            work.set_rate(rounds)
            seen = batch if work.phase.sees_data else self._drawn(round_, step)
            losses.append(self._descend(work, seen.at(rounds)))
        if self._teacher is not None:
            self._teacher.follow()
        return losses[0]

    def _attacked(self, batch: Batch, round_: int, step: int) -> Batch:
        seed = seed_of(self._seed, "attack", self._site, round_, step)
        return attacked(batch, self._job, self.works[0].phase, self._models, seed)

    def _drawn(self, round_: int, step: int) -> Batch:
        seed = seed_of(self._seed, "nobody", self._site, round_, step)
        batch = drawn_batch(self._job, self._task, seed)
        return to_device(batch, self._task, self._device, channels_last=self._channels_last)

    def _descend(self, work: Work, batch: Batch) -> Tensor:
        """Take one step of a phase."""
        self._parameters.zero_gradients()
        if self._second is not None:
            self._second.learn(partial(self._backward, work, batch), work)
        loss = self._backward(work, batch)
        if self._steps.radius:
            with self._parameters.uphill(self._steps.radius):
                self._backward(work, batch)
        if self._scaler is not None:
            self._scaler.unscale_(work.optimizer)
        if self._steps.pull is not None:
            self._parameters.add_to_gradient(self._steps.pull)
        if self._held is not None:
            self._held.before_step()
        if work.clip is not None:
            nn.utils.clip_grad_norm_(work.tensors, work.clip)
        if self._scaler is None:
            work.optimizer.step()
        else:
            self._scaler.step(work.optimizer)
            self._scaler.update()
        if self._held is not None:
            self._held.after_step()
        return loss

    def _backward(self, work: Work, batch: Batch) -> Tensor:
        """Add up the gradients of a phase's loss; those by what other phases change are not even computed."""
        with torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None):
            loss = self._loss(work, batch)
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        scaled.backward(inputs=work.parameters if len(self.works) > 1 else None)
        return loss.detach()

    def _loss(self, work: Work, batch: Batch) -> Tensor:
        if self._contrast is None:
            return work.phase.loss(self._models, batch).float().mean()
        with self._contrast.watched(self._models) as seen:
            losses = work.phase.loss(self._models, batch).float()
        return (losses + self._contrast.losses(seen, batch)).mean()

    def _check(self, total: Tensor, round_: int) -> None:
        if not math.isfinite(total.item()):
            raise diverged(self._site, round_)


def _in_training(models: Mapping[str, nn.Module], job: JobSpec) -> Mapping[str, nn.Module]:
    if not job.training.compile:
        return models
    from client.training.compiling import compiled  # noqa: PLC0415 (a second of loading)

    return {role: compiled(model) for role, model in models.items()}


def _compiling(job: JobSpec, site: str) -> AbstractContextManager[None]:
    if not job.training.compile:
        return nullcontext()
    from client.training.compiling import compiling  # noqa: PLC0415

    return compiling(job.training.threads, site)


def batches_ahead(
    samples: TrainingSamples,
    asked: Iterable[tuple[int, Sequence[int]]],
    prepare: Callable[[Batch, int], Batch],
    augment_seed: int,
    device: torch.device,
) -> Iterator[Batch]:
    """Yield prepared batches, loaded in the background where loading would keep the device waiting.

    Args:
        samples: To train on.
        asked: The number of each batch, and which samples it has.
        prepare: Prepares a batch, given its number.
        augment_seed: See `Samples.batch`.
        device: Where the model is.
    """

    def load(numbered: tuple[int, Sequence[int]]) -> Batch:
        number, indices = numbered
        batch = samples.batch(indices, augment_seed=augment_seed)
        return prepare(batch, number)

    if samples.on_disk or device.type == "cuda":
        return ahead(load, asked)
    return map(load, asked)


def training_seed(job: JobSpec, vector: NDArray[np.float32]) -> int:
    """Return the seed of what is drawn in a round of training.

    Under secure aggregation the model is part of it: updates of two models then share no batches, and their
    difference is not a single image's.
    """
    if not job.privacy.secure_aggregation:
        return job.job.seed
    return seed_of(job.job.seed, "model", hashlib.sha256(np.ascontiguousarray(vector).data).hexdigest())


def diverged(site: str, round_: int) -> TrainingError:
    """Return the error for a training that no longer computes numbers.

    It does not say at which step: their number would tell how many images there are.
    """
    return TrainingError(
        f"the training loss is no longer a number in round {round_}; no update was sent",
        where=site,
        remedy="Lower training.learning_rate, or set training.gradient_clip.",
    )


def to_device(batch: Batch, task: Task, device: torch.device, *, channels_last: bool) -> Batch:
    """Return a batch where the model is, its images (B, C, H, W) laid out as it wants them."""

    def move(name: str, value: Tensor) -> Tensor:
        if device.type == "cuda":
            value = value.to(device, non_blocking=True)
        if channels_last and value.dim() == 4 and name not in task.targets:
            return value.contiguous(memory_format=torch.channels_last)
        return value

    return batch.each(move)
