"""Regression: numbers from an image, the columns of a table, or both."""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shared.batch import Batch, Prediction
from shared.errors import RunError
from shared.metrics.states import MetricSet
from shared.tasks.answers import Answer, Cell
from shared.tasks.base import Models
from shared.tasks.explained import Explained
from shared.tasks.look import Look
from shared.tasks.precision import full
from shared.tasks.programs import Program, Rescaled
from shared.tasks.record_task import RecordTask, Scale
from shared.tasks.regression.metrics import NUMBER, STANDARD, RegressionMetrics
from shared.tasks.regression.options import TARGETS, Regression
from shared.text.names import suggestion

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


class RegressionTask(RecordTask):
    """Numbers (B, K), predicted in standard deviations from their mean: those of all sites, or as stated.

    So a step is as large whatever the unit of a target is, and several targets weigh alike.
    """

    def __init__(self, job: "JobSpec", options: Regression) -> None:
        super().__init__(job)
        self._options = options

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return the columns of numbers, and the targets."""
        return super().measure(batch) | {TARGETS: batch[NUMBER]}

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return what is predicted, in standard deviations (B, K)."""
        return {STANDARD: self.outputs(models, batch)}

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return the mean over the targets that are known (B,); 0 where none is."""
        found = full(predicted[STANDARD])
        target = self._standardised(batch[NUMBER]).to(found)
        known = ~target.isnan()
        errors = torch.where(known, found - target.nan_to_num(), 0.0)
        return self._of_errors(errors).sum(dim=1) / known.sum(dim=1).clamp(min=1)

    def _of_errors(self, errors: Tensor) -> Tensor:
        """Return the loss of each error in standard deviations, 0 of none."""
        if self._options.loss == "mse":
            return errors.square()
        if self._options.loss == "mae":
            return errors.abs()
        nothing = torch.zeros_like(errors)
        return functional.huber_loss(errors, nothing, reduction="none", delta=self._options.delta)

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty metrics; they bin no scores."""
        is_known = TARGETS in self.statistics or self._options.scaling is not None
        units = np.zeros(len(self._options.targets)), np.ones(len(self._options.targets))
        return RegressionMetrics(self.job, self._options, self._target_scale() if is_known else units)

    def program(self, models: Models) -> Program:
        """Return the networks, which give the targets in their own units."""
        program = self.program_of(
            models, "numbers", "each target in its own unit", {"targets": self._options.targets}
        )
        means, deviations = (torch.from_numpy(part).float() for part in self._target_scale())
        return Program(
            Rescaled(program.module, means, deviations),
            program.inputs,
            program.output,
            program.says,
            program.facts,
        )

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """Return of each row the targets in their own units; where they are known, how far off they are."""
        found = []
        for number, own in enumerate(self._restored(predicted).tolist()):
            cells: dict[str, Cell] = {
                f"predicted/{name}": value for name, value in zip(self._options.targets, own, strict=True)
            }
            if NUMBER in batch:
                true = batch[NUMBER][number].tolist()
                for name, value, wanted in zip(self._options.targets, own, true, strict=True):
                    if not math.isnan(wanted):
                        cells |= {f"true/{name}": wanted, f"error/{name}": value - wanted}
            found.append(Answer(cells))
        return found

    def explained(self, predicted: Prediction, of: str | None = None) -> list[Explained]:
        """See the base class: of jobs with an image what makes a target large, here the first."""
        names = self._options.targets
        if of is not None and of not in names:
            raise RunError(f"there is no target '{of}'; {suggestion(of, names)}", where=self.job.job.name)
        if not self._options.image:
            return []
        place = 0 if of is None else names.index(of)
        one = Explained("image", f"what speaks for a large {names[place]}", partial(self._number, place))
        return [one] * len(predicted[STANDARD])

    def _number(self, place: int, models: Models, batch: Batch) -> Tensor:
        return self.forward(models, batch)[STANDARD][:, place]

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """See the base class: the true number and the predicted one; the nearer, the better."""
        found, true = self._restored(predicted), batch[NUMBER].cpu()
        errors = (predicted[STANDARD].detach().cpu().double() - self._standardised(true)).abs().nanmean(1)
        return [
            Look(-error, "; ".join(self._said(*row)))
            for error, row in zip(
                errors.tolist(), zip(true.tolist(), found.tolist(), strict=True), strict=True
            )
        ]

    def _said(self, true: list[float], found: list[float]) -> list[str]:
        return [
            f"{name}: true {wanted:.4g}, the model {value:.4g}"
            for name, wanted, value in zip(self._options.targets, true, found, strict=True)
            if not math.isnan(wanted)
        ]

    def _target_scale(self) -> Scale:
        return self.scale(TARGETS, self._options.targets)

    def _standardised(self, targets: Tensor) -> Tensor:
        means, deviations = (torch.from_numpy(part).to(targets.device) for part in self._target_scale())
        return (targets.double() - means) / deviations

    def _restored(self, predicted: Prediction) -> Tensor:
        means, deviations = (torch.from_numpy(part) for part in self._target_scale())
        return predicted[STANDARD].detach().cpu().double() * deviations + means
