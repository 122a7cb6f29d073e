"""Metrics of a classification that predicts numbers too."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.metrics.replicates import Draws, Figures, Tables, figures_of, joined, states_of_patients
from shared.tasks.classification.metrics import ClassificationMetrics
from shared.tasks.regression.metrics import NUMBER, STANDARD
from shared.tasks.regression.sums import (
    SIGNED,
    SUMS,
    add_numbers,
    figures_of_numbers,
    largest_of_sum,
    number_sums,
    within_scale,
)

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_NUMBER_STATES = "number_states"


class NumbersMetrics(ClassificationMetrics):
    """Those of the classes, and of each number what a regression has.

    Args:
        job: What is judged.
        numbers: Their names.
        edges: Of the bins of scores: logits (judged classes, bins - 1).
        scale: Mean and standard deviation of each number (T,).
    """

    signed = SIGNED

    def __init__(
        self,
        job: "JobSpec",
        numbers: Sequence[str],
        edges: NDArray[np.float64],
        scale: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> None:
        self._names = list(numbers)
        self._means, self._deviations = (torch.from_numpy(part) for part in scale)
        super().__init__(job, edges, number_sums(len(numbers)))

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """See the base class; and numbers that are `standard` (B, T), and true (B, T), NaN where unknown."""
        super().update(predicted, batch, losses)
        found = predicted[STANDARD].detach().cpu().double()
        target = (batch[NUMBER].detach().cpu().double() - self._means) / self._deviations
        add_numbers(self, list(batch.patients), found, within_scale(target))

    def largest(self, name: str, state: str) -> float:
        """See the base class."""
        if name in SUMS:
            return largest_of_sum(name) if state == "total" else 1.0
        return super().largest(name, state)

    def report(self) -> dict[str, float]:
        """See the base class; of several numbers with units of their own there is no mean error."""
        return {**super().report(), **self._report_numbers()}

    def _report_numbers(self) -> dict[str, float]:
        values = {}
        for figure, own in figures_of_numbers(self, self._deviations).items():
            has_mean = len(self._names) == 1 or figure in ("r2", "relative_mae")
            values[figure] = float(own.mean()) if has_mean else math.nan
            values |= {f"{figure}/{name}": float(value) for name, value in zip(self._names, own, strict=True)}
        return values

    def patient_tables(self) -> Tables:
        """See the base class; and what each patient adds to the sums of the numbers."""
        return {**super().patient_tables(), _NUMBER_STATES: states_of_patients(self, SUMS)}

    def resampled(self, sites: Sequence[Tables], draws: Draws) -> Figures:
        """See the base class."""
        states = draws @ joined(sites, _NUMBER_STATES)
        numbers = figures_of(self, SUMS, states, self._report_numbers)
        return {**super().resampled(sites, draws), **numbers}
