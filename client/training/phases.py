"""The phases of a training at work: the optimiser of each, and what it changes."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.job.training_options import TrainingTable
from shared.job_parts import phases_of, rate_of
from shared.loading import loading
from shared.tasks.base import Models, Phase, Task


@dataclass(frozen=True)
class Declared:
    """A phase with what it changes.

    Attributes:
        phase: What the task says of it.
        training: The options that hold in it.
        parameters: The trainable ones of its networks; there are some.
        factors: On the learning rate of each.
    """

    phase: Phase
    training: TrainingTable
    parameters: list[nn.Parameter]
    factors: list[float]

    @property
    def by_factor(self) -> dict[float, list[nn.Parameter]]:
        """The parameters with each factor."""
        found: dict[float, list[nn.Parameter]] = {}
        for parameter, factor in zip(self.parameters, self.factors, strict=True):
            found.setdefault(factor, []).append(parameter)
        return found


def declared_phases(job: JobSpec, task: Task, models: Models) -> Iterator[Declared]:
    """Yield the phases of a task that have anything to change, in their order.

    Raises:
        ValueError: They are not those that the options of the task name, or a statistic is missing.
    """
    known, phases = phases_of(job), task.phases()
    if [(spec.name, spec.networks) for spec in known] != [(own.name, own.networks) for own in phases]:
        raise ValueError(f"the phases of '{job.task.name}' are not those that its options name")
    for phase, training in zip(phases, known.values(), strict=True):
        factors: dict[nn.Parameter, float] = {}
        for role in phase.networks:
            factors |= _factors(models[role], "" if len(models) == 1 else f"{role}.", job.training.rates)
        if factors:
            yield Declared(phase, training, list(factors), list(factors.values()))


def _factors(network: nn.Module, prefix: str, rates: Mapping[str, float]) -> dict[nn.Parameter, float]:
    """Return the factor on the learning rate of each parameter of a network that is trained."""
    named = network.named_parameters()
    return {own: rate_of(prefix + name, rates) for name, own in named if own.requires_grad}


class Work:
    """A phase at work, with an optimiser of its own.

    Args:
        declared: The phase.
        rounds: Of the whole run, for the schedule.
        runs: Returns what the optimiser steps for some parameters, where they lie in fewer tensors.

    Attributes:
        phase: What the task says of it.
        parameters: That it changes.
        tensors: That its optimiser steps.
        optimizer: Of these.
        factors: On the learning rate of each parameter.
        clip: Largest norm of a step's gradient, or None.
        steps_rates: Learning rates of the steps of this round so far.
    """

    def __init__(
        self,
        declared: Declared,
        rounds: int,
        runs: Callable[[Sequence[nn.Parameter]], Sequence[nn.Parameter]] = list,
    ) -> None:
        self.phase = declared.phase
        self.parameters = declared.parameters
        groups = {factor: list(runs(own)) for factor, own in declared.by_factor.items()}
        self.tensors = [tensor for group in groups.values() for tensor in group]
        self.clip = declared.training.gradient_clip
        self.optimizer = make_optimizer(groups, declared.training)
        self.factors = dict(zip(declared.parameters, declared.factors, strict=True))
        self._training = declared.training
        self._rounds = rounds
        self.steps_rates: list[float] = []

    @property
    def name(self) -> str:
        """Of the phase."""
        return self.phase.name

    def begin(self) -> None:
        """Count the learning rates of a round from here."""
        self.steps_rates = []

    def set_rate(self, position: float) -> None:
        """Set the learning rate of the next step; see `schedule_factor`."""
        rate = self._training.learning_rate * schedule_factor(self._training, self._rounds, position)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.steps_rates.append(rate)

    @property
    def rate(self) -> float:
        """Learning rate of the step that is being taken."""
        return self.steps_rates[-1]

    @property
    def decay(self) -> float:
        """Weight decay of the phase."""
        return self._training.weight_decay

    @property
    def rates(self) -> float:
        """Sum of the learning rates of the steps of this round."""
        return math.fsum(self.steps_rates)


def summed_rates(works: Sequence[Work], parameters: Sequence[nn.Parameter]) -> float | NDArray[np.float32]:
    """Return the sum of the steps' learning rates, as `shared.strategies.vectors.Trained` has it.

    Args:
        works: The phases.
        parameters: All that are trained, in the order of the packed model.
    """
    alike = all(factor == 1 for work in works for factor in work.factors.values())
    if alike and len(works) == 1 and len(works[0].parameters) == len(parameters):
        return works[0].rates
    sums: dict[nn.Parameter, float] = {}
    for work in works:
        for parameter, factor in work.factors.items():
            sums[parameter] = sums.get(parameter, 0.0) + factor * work.rates
    parts = [np.full(own.numel(), sums.get(own, math.inf), np.float32) for own in parameters]
    return np.concatenate(parts)


def drawn_batch(job: JobSpec, task: Task, seed: int) -> Batch:
    """Return the batch of a phase that sees no data: as many samples as a step has, and nobody's."""
    return task.prepare(Batch.of_nobody(job.training.batch_size), seed)


def make_optimizer(
    groups: Mapping[float, Sequence[nn.Parameter]], training: TrainingTable
) -> torch.optim.Optimizer:
    """Return the optimiser that a job names; fused, a step of Adam takes half the time on a CPU.

    Args:
        groups: What it steps, by the factor on the learning rate.
        training: Options that hold.
    """
    parameters = [{"params": list(tensors), "factor": factor} for factor, tensors in groups.items()]
    rate, decay = training.learning_rate, training.weight_decay
    with loading():  # the first one loads PyTorch's compiler
        if training.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, rate, momentum=training.momentum, weight_decay=decay, fused=True
            )
        kind = torch.optim.Adam if training.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, rate, betas=(training.momentum, 0.999), weight_decay=decay, fused=True)


def schedule_factor(training: TrainingTable, rounds: int, position: float) -> float:
    """Return the factor on the learning rate at a position of the run.

    Args:
        training: Names the schedule and its warm-up.
        rounds: Rounds of the whole run.
        position: Rounds done, fractions included: 0 at the start, `rounds` at the end.
    """
    if position < training.warmup_rounds:
        return max(position / training.warmup_rounds, 0.01)
    if training.schedule == "constant":
        return 1.0
    span = max(rounds - training.warmup_rounds, 1)
    progress = min((position - training.warmup_rounds) / span, 1.0)
    if training.schedule == "linear":
        return 1.0 - progress
    return 0.5 * (1.0 + math.cos(math.pi * progress))
