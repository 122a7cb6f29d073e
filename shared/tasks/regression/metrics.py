"""Metrics of a regression, from sums over samples of errors and targets in standard deviations."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.metrics.figures import Figure, Point
from shared.metrics.replicates import TRAIN, Rivals, Tables
from shared.metrics.states import LARGEST_LOSS, Mean, MetricSet, Totals, bounded
from shared.tasks.regression.options import Regression
from shared.tasks.regression.sums import (
    SIGNED,
    add_numbers,
    figures_of_numbers,
    largest_of_sum,
    number_sums,
    within_scale,
)

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

NUMBER = "number"
"""The field with the targets (B, K)."""

STANDARD = "standard"
"""Name of what is predicted (B, K), in standard deviations from the mean."""

TRUE = "true"
"""Table of the targets of each row of a test (N, K)."""

ENDS = (-1.5, -0.75, 0.0, 0.75, 1.5)  # in deviations, between the bins of true and predicted numbers


class RegressionMetrics(MetricSet):
    """Mergeable metrics of a regression job.

    Args:
        job: The job.
        options: Of its task.
        scale: Mean and standard deviation of each target (K,).
    """

    signed: ClassVar[frozenset[str]] = SIGNED

    def __init__(
        self, job: "JobSpec", options: Regression, scale: tuple[NDArray[np.float64], NDArray[np.float64]]
    ) -> None:
        self.options = options
        self._means, self._deviations = (torch.from_numpy(part) for part in scale)
        self._true: list[Tensor] = []
        targets, bins = len(options.targets), len(ENDS) + 1
        agreement = {f"agreement/{name}": Totals(bins, bins, are_bins=True) for name in options.targets}
        super().__init__(job, {"loss": Mean(), **number_sums(targets), **agreement})

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch: what is `standard` (B, K), and `number` (B, K), NaN where a row lacks it.

        See `within_scale` for a target that is far from the mean.
        """
        found = predicted[STANDARD].detach().cpu().double()
        own = batch[NUMBER].detach().cpu().double()
        target, patients = within_scale((own - self._means) / self._deviations), list(batch.patients)
        self._true.append(own)
        known = ~target.isnan()
        self.add("loss", patients, bounded(losses[:, None], LARGEST_LOSS), known.any(dim=1, keepdim=True))
        add_numbers(self, patients, found, target)
        for place, name in enumerate(self.options.targets):
            self.add_up(f"agreement/{name}", patients, in_bins(target[:, place], found[:, place]))

    def largest(self, name: str, state: str) -> float:
        """See the base class."""
        if state != "total" or name.startswith("agreement/"):
            return 1.0
        return LARGEST_LOSS if name == "loss" else largest_of_sum(name)

    def patient_tables(self) -> Tables:
        """See the base class; and what is true of each row."""
        return {**super().patient_tables(), TRUE: torch.cat(self._true)}

    def report(self) -> dict[str, float]:
        """Compute every metric of the job; of several targets without one unit there is no mean."""
        single = figures_of_numbers(self, self._deviations)
        values = {name: float(own.mean()) for name, own in single.items()}
        if not self.options.have_one_unit:
            values |= {"mae": math.nan, "rmse": math.nan}
        for name, own in single.items():
            values |= {
                f"{name}/{target}": float(value)
                for target, value in zip(self.options.targets, own, strict=True)
            }
        return {**values, "loss": float(self.metrics["loss"].compute())}

    def rivals(self, sites: Mapping[str, Tables]) -> Rivals:
        """See the base class: the mean of the training patients of all sites, or of their own site."""
        if not all(TRAIN in tables for tables in sites.values()):
            return Rivals()
        tests = [tables[TRUE] for tables in sites.values()]
        trained = [tables[TRAIN].double() for tables in sites.values()]
        everybody = torch.cat(trained).nanmean(dim=0)
        found = {"constant": self._of_constants([everybody] * len(tests), tests)}
        if len(sites) > 1:
            found["site"] = self._of_constants([own.nanmean(dim=0) for own in trained], tests)
        return Rivals(found)

    def _of_constants(self, answers: Sequence[Tensor], tests: Sequence[Tensor]) -> dict[str, float]:
        """Return what is reached by one answer (K,) at each site."""
        metrics = RegressionMetrics(self.job, self.options, (self._means.numpy(), self._deviations.numpy()))
        for answer, test in zip(answers, tests, strict=True):
            standard = ((answer - self._means) / self._deviations).expand(len(test), -1)
            batch = Batch({NUMBER: test}, [""] * len(test))
            metrics.update({STANDARD: standard}, batch, torch.zeros(len(test)))
        return metrics.report()

    def figures(self) -> Iterator[Figure]:
        """See the base class: how often which number was predicted for which."""
        for place, name in enumerate(self.options.targets):
            counts = self.metrics[f"agreement/{name}"].compute()
            if not bool(counts.any()):
                continue
            bins = _named(self._means[place], self._deviations[place])
            points: list[Point] = [
                (true, found, int(counts[row, column]))
                for row, true in enumerate(bins)
                for column, found in enumerate(bins)
            ]
            title = f"True and predicted {name}" if len(self.options.targets) > 1 else "True and predicted"
            yield Figure(
                f"agreement-{place + 1}",
                title,
                (f"true {name}", f"predicted {name}", "samples"),
                points,
                "matrix",
                says="Samples by their true number and by the predicted one; on the diagonal both agree.",
            )


def in_bins(target: Tensor, found: Tensor) -> Tensor:
    """Return 1 at the true and the predicted bin of each sample (N, bins, bins), of whom both are known."""
    ends = torch.tensor(ENDS, dtype=torch.float64)
    counts = torch.zeros(len(target), len(ENDS) + 1, len(ENDS) + 1, dtype=torch.int64)
    rows, columns = (torch.bucketize(values.contiguous(), ends) for values in (target, found))
    counts[torch.arange(len(target)), rows, columns] = (~target.isnan()).long()
    return counts


def _named(mean: Tensor, deviation: Tensor) -> list[str]:
    """Return the bins in the unit of a target."""
    ends = [f"{float(mean + end * deviation):.3g}" for end in ENDS]
    return [f"to {ends[0]}", *(f"{low} to {high}" for low, high in pairwise(ends)), f"above {ends[-1]}"]
