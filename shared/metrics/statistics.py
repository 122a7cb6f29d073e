"""The sums over all sites that a job needs before its first round: checked, added up, and read.

All numbers are float64; counts are whole.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.metrics.statistic_spec import LARGEST_VALUE, StatisticSpec

Numbers = NDArray[np.float64]
Statistics = Mapping[str, Numbers]
"""The sums of all sites, or the part of one, by name."""

LARGEST_COUNT = 2.0**53  # above it, float64 can't hold every whole number


def problem_of(spec: StatisticSpec, numbers: Numbers) -> str | None:
    """Say why numbers of a statistic make no sense, or None; they are a site's part or the sum."""
    if numbers.shape != spec.shape:
        return f"'{spec.name}' has the shape {numbers.shape} instead of {spec.shape}"
    if not np.isfinite(numbers).all():
        return f"'{spec.name}' holds a number that is not finite"
    counts = numbers[:, 0] if spec.kind == "moments" else numbers
    if (counts < 0).any() or (counts > LARGEST_COUNT).any() or (counts != np.rint(counts)).any():
        return f"'{spec.name}' holds a count that is negative or not whole"
    return _moments_problem(spec, numbers) if spec.kind == "moments" else None


def _moments_problem(spec: StatisticSpec, numbers: Numbers) -> str | None:
    count, total, squares = numbers.T
    if (np.abs(total) > count * LARGEST_VALUE).any() or (squares > count * spec.largest).any():
        return f"'{spec.name}' is beyond what that many patients can have"
    if (squares * count < total**2 * (1 - 1e-9)).any():
        return f"'{spec.name}' has a negative variance"
    return None


def packed(specs: Sequence[StatisticSpec], statistics: Statistics) -> Numbers:
    """Return statistics as one vector (n,), in the order of the specs."""
    return np.concatenate([np.zeros(0), *(statistics[spec.name].ravel() for spec in specs)])


def unpacked(specs: Sequence[StatisticSpec], vector: Numbers) -> dict[str, Numbers]:
    """Return what `packed` put together.

    Args:
        specs: Of the job.
        vector: From the network.

    Raises:
        ValueError: Its length is another, or a statistic makes no sense.
    """
    size = sum(spec.size for spec in specs)
    if vector.shape != (size,):
        raise ValueError(f"statistics: expected {size} numbers, got the shape {vector.shape}")
    found, start = {}, 0
    for spec in specs:
        found[spec.name] = vector[start : start + spec.size].reshape(spec.shape)
        start += spec.size
        if (problem := problem_of(spec, found[spec.name])) is not None:
            raise ValueError(f"statistics: {problem}")
    return found


def lacking(specs: Sequence[StatisticSpec], total: Statistics) -> Iterator[str]:
    """Yield in words what the sum of all sites says nothing of: too few patients had it at each site."""
    for spec in specs:
        numbers = total[spec.name]
        if spec.kind == "moments":
            yield from (
                f"column '{name}'" for name, known in zip(spec.of, numbers[:, 0], strict=True) if not known
            )
        elif not numbers.any():
            yield f"{', '.join(spec.of)}"


def added_up(specs: Sequence[StatisticSpec], parts: Sequence[Statistics]) -> dict[str, Numbers]:
    """Return the sums of the sites' parts, added in the order given: let it be that of the sites' names."""
    total = {spec.name: np.zeros(spec.shape) for spec in specs}
    for part in parts:
        for name, numbers in part.items():
            total[name] = total[name] + numbers
    return total


def means_and_deviations(moments: Numbers) -> tuple[Numbers, Numbers]:
    """Return the mean and the standard deviation of each column (K,) from its moments (K, 3).

    A column that does not vary has a deviation of 1.
    """
    count, total, squares = moments.T
    means = total / np.maximum(count, 1)
    variances = squares / np.maximum(count, 1) - means**2
    varies = variances > 1e-12 * np.maximum(means**2, 1e-12)
    return means, np.where(varies, np.sqrt(np.where(varies, variances, 1.0)), 1.0)


def quantiles(counts: Numbers, number: int, low: float, high: float) -> Numbers:
    """Return the ends (number,) of intervals that hold equal parts of a histogram; the last is `high`.

    Within a bin values are taken to be spread evenly, so the ends ascend; of a histogram that holds nothing
    they are evenly apart.
    """
    if not counts.any():
        return np.linspace(low, high, number + 1)[1:]
    bounds = np.linspace(low, high, len(counts) + 1)
    below = np.concatenate([[0.0], np.cumsum(counts)])
    wanted = below[-1] * np.arange(1, number) / number
    place = np.clip(np.searchsorted(below, wanted, side="right") - 1, 0, len(counts) - 1)
    inside = (wanted - below[place]) / counts[place]
    return np.append(bounds[place] + inside * (bounds[place + 1] - bounds[place]), high)
