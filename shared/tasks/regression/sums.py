"""The sums over samples from which the figures of predicted numbers follow, in standard deviations."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from shared.metrics.states import Mean, MetricSet, bounded
from shared.tasks.regression.options import LARGEST

_log = logging.getLogger(__name__)

SUMS = ("error", "squared_error", "target", "squared_target", "absolute_target")
SIGNED = frozenset({"target"})
"""Those of them whose values may be below 0."""


def number_sums(numbers: int) -> dict[str, Mean]:
    """Return the empty means of that many numbers."""
    return {name: Mean(numbers) for name in SUMS}


def add_numbers(metrics: MetricSet, patients: Sequence[str], found: Tensor, target: Tensor) -> None:
    """Add predicted and true numbers (B, K) to the means of `number_sums`, in standard deviations.

    Args:
        metrics: That have them.
        patients: Of the samples.
        found: Predicted.
        target: True; NaN where a row lacks it.
    """
    known, error = ~target.isnan(), found - target
    for name, values in {
        "error": bounded(error.abs(), LARGEST),
        "squared_error": bounded(error.square(), LARGEST**2),
        "target": target,
        "squared_target": target.square(),
        "absolute_target": target.abs(),
    }.items():
        metrics.add(name, patients, torch.where(known, values, 0.0), known)


def largest_of_sum(name: str) -> float:
    """Return the most that one sample adds to one of the sums."""
    return LARGEST**2 if name.startswith("squared") else LARGEST


def within_scale(target: Tensor) -> Tensor:
    """Return targets in standard deviations, none farther from the mean than `LARGEST`.

    One so far away that the scale can't be its own is logged where it is judged. It is not an error: an error
    leaves a site, and a job that chooses the scale would look for one patient's number with it.
    """
    if bool((target.abs() > LARGEST).any()):
        _log.warning(
            "[task] scaling: a target is more than %.0f standard deviations from the mean, and counts as "
            "this; mean and standard deviation are to be in the unit of the column",
            LARGEST,
        )
        target = target.clamp(-LARGEST, LARGEST)
    return target


def figures_of_numbers(metrics: MetricSet, deviations: Tensor) -> dict[str, Tensor]:
    """Return the figures of each number (K,) from the means; see docs/metrics.md."""
    found = {name: metrics.metrics[name].compute().reshape(-1) for name in SUMS}
    spread = found["squared_target"] - found["target"].square()
    return {
        "mae": found["error"] * deviations,
        "rmse": found["squared_error"].sqrt() * deviations,
        "r2": 1 - _ratio(found["squared_error"], spread),
        "relative_mae": _ratio(found["error"], found["absolute_target"]),
    }


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Return quotients; NaN where nothing is below the line."""
    return torch.where(below > 0, above / below, torch.full_like(above, torch.nan))
