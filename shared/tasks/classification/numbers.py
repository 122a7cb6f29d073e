"""Classification with a second head on the same network: numbers beside the class."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import huber_loss

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.metrics.statistics import means_and_deviations
from shared.tasks.answers import Answer, Cell
from shared.tasks.base import Models
from shared.tasks.classes import LOGITS
from shared.tasks.classification.numbers_metrics import NumbersMetrics
from shared.tasks.classification.options import NUMBERS, Classification
from shared.tasks.classification.task import ClassificationTask, RecordClassificationTask
from shared.tasks.losses import SampleLoss
from shared.tasks.precision import full
from shared.tasks.programs import Program, Rescaled
from shared.tasks.regression.metrics import NUMBER, STANDARD

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


class _WithNumbers(ClassificationTask):
    """The last outputs of the networks are numbers, in standard deviations from their mean.

    The loss of an image is that of its class, and `number_weight` times the mean Huber loss of the numbers
    that are known of it.
    """

    def __init__(self, job: "JobSpec") -> None:
        super().__init__(job)
        if not isinstance(job.task, Classification):
            raise TypeError(f"'{job.task.name}' has no second head")
        self._options = job.task

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """See the base class; and the numbers."""
        return {**super().measure(batch), NUMBERS: batch[NUMBER]}

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the logits (B, K), and the numbers in standard deviations (B, T)."""
        found = dict(super().forward(models, batch))
        both = found.pop(LOGITS)
        classes = len(self._options.classes)
        return {**found, LOGITS: both[:, :classes], STANDARD: both[:, classes:]}

    def training_losses(self, loss: SampleLoss, predicted: Prediction, batch: Batch) -> Tensor:
        """See the base class."""
        return super().training_losses(loss, predicted, batch) + self._number_losses(predicted, batch)

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """See the base class."""
        return super().sample_losses(models, batch, predicted) + self._number_losses(predicted, batch)

    def _number_losses(self, predicted: Prediction, batch: Batch) -> Tensor:
        found = full(predicted[STANDARD])
        target = self._standardised(batch[NUMBER]).to(found)
        known = ~target.isnan()
        errors = huber_loss(torch.where(known, found, 0.0), target.nan_to_num(), reduction="none")
        return self._options.number_weight * errors.sum(dim=1) / known.sum(dim=1).clamp(min=1)

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """See the base class; and those of the numbers."""
        given = self.first_edges(self.job.evaluation.bins) if edges is None else edges
        is_known = NUMBERS in self.statistics or self._options.number_scaling is not None
        count = len(self._options.number_targets)
        scale = self._scale() if is_known else (np.zeros(count), np.ones(count))
        return NumbersMetrics(self.job, self._options.number_targets, given, scale)

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """See the base class; and the numbers in their own units, and how far off they are."""
        means, deviations = (torch.from_numpy(part) for part in self._scale())
        numbers = predicted[STANDARD].detach().cpu().double() * deviations + means
        true = batch[NUMBER].tolist() if NUMBER in batch else [[math.nan] * numbers.shape[1]] * len(batch)
        return [
            replace(answer, cells={**answer.cells, **self._cells(*own)})
            for answer, *own in zip(super().answers(batch, predicted), numbers.tolist(), true, strict=True)
        ]

    def _cells(self, found: Sequence[float], true: Sequence[float]) -> dict[str, Cell]:
        cells: dict[str, Cell] = {}
        for name, value, wanted in zip(self._options.number_targets, found, true, strict=True):
            cells[f"predicted/{name}"] = value
            if not math.isnan(wanted):
                cells |= {f"true/{name}": wanted, f"error/{name}": value - wanted}
        return cells

    def program(self, models: Models) -> Program:
        """See the base class: the numbers stand behind the logits, in their own units."""
        program = super().program(models)
        if program is None:
            raise TypeError("a second head is not for what can't be exported")
        means, deviations = (torch.from_numpy(part).float() for part in self._scale())
        classes = len(self._options.classes)
        units = torch.cat([torch.zeros(classes), means]), torch.cat([torch.ones(classes), deviations])
        says = f"{program.says}; behind them each number in its own unit"
        facts = {**program.facts, "numbers": self._options.number_targets}
        return replace(program, module=Rescaled(program.module, *units), says=says, facts=facts)

    def _standardised(self, numbers: Tensor) -> Tensor:
        means, deviations = (torch.from_numpy(part).to(numbers.device) for part in self._scale())
        return (numbers.double() - means) / deviations

    def _scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        stated = self._options.number_scaling
        if stated is None:
            return means_and_deviations(self.known(NUMBERS))
        means, deviations = np.array([stated[name] for name in self._options.number_targets]).T
        return means, deviations


class ClassAndNumbers(_WithNumbers):
    """Of images."""


class RecordClassAndNumbers(_WithNumbers, RecordClassificationTask):
    """Of the columns of a table, or of an image and them."""
