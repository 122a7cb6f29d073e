"""How what was chosen does on the test patients, from the test's own sums."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from shared.decisions.choice import Choice, sigmoid
from shared.decisions.rows import Row, rows_of, rows_of_all
from shared.metrics.curves import Curves
from shared.metrics.intervals import wilson
from shared.tasks.fields import Field

Figures = dict[str, dict[str, Any]]


def judged(choice: Choice, label: Field, curves: Curves, patients: int) -> dict[str, Any]:
    """Return figures of a test, by name: each with `value`, and shares with `low` and `high` of 95 %.

    Args:
        choice: Made on the validation patients.
        label: What is classified.
        curves: The histograms of the test.
        patients: Behind them, as rounded; a patient's images count as one in an interval.

    Returns:
        By class under `at_threshold` and `calibration`; under `sets` also of all together.
    """
    rows, every = rows_of(curves, label), rows_of_all(curves, label)
    images = int(curves.positives[0].sum() + curves.negatives[0].sum())
    weight = min(1.0, patients / max(1, images))
    return {
        "at_threshold": {
            row.name: dict(_at_threshold(row, choice.thresholds[row.name], weight))
            for row in rows
            if row.name in choice.thresholds and images
        },
        "calibration": {
            row.name: dict(_holding(row, choice))
            for row in rows
            if choice.calibrates(row.name) and images and len(row.edges)
        },
        "sets": dict(_sets(every, choice, weight)) if choice.cuts and images else {},
    }


def _share(part: float, whole: float, weight: float) -> dict[str, float] | None:
    """Return a share of images with its interval; None of nothing."""
    if whole <= 0:
        return None
    low, high = wilson(part * weight, whole * weight)
    return {"value": part / whole, "low": low, "high": high}


def _at_threshold(
    row: Row, threshold: float, weight: float
) -> Iterator[tuple[str, Mapping[str, float] | None]]:
    ill, well = float(row.positives.sum()), float(row.negatives.sum())
    found, wrong = (row.at_least(counts, threshold) for counts in (row.positives, row.negatives))
    yield "sensitivity", _share(found, ill, weight)
    yield "specificity", _share(well - wrong, well, weight)
    yield "positive_predictive_value", _share(found, found + wrong, weight)
    yield "negative_predictive_value", _share(well - wrong, ill + well - found - wrong, weight)


def _holding(row: Row, choice: Choice) -> Iterator[tuple[str, float]]:
    """Yield the gap between chance and share of the class over the bins, and the Brier score, twice."""
    images = row.positives + row.negatives
    for how, chances in (
        ("before", sigmoid(row.middles)),
        ("after", choice.calibrated(row.name, row.middles)),
    ):
        squares = row.positives * (1 - chances) ** 2 + row.negatives * chances**2
        yield f"error_{how}", float(np.abs(chances * images - row.positives).sum() / images.sum())
        yield f"brier_{how}", float(squares.sum() / images.sum())


def _sets(rows: Sequence[Row], choice: Choice, weight: float) -> Iterator[tuple[str, Any]]:
    has = {row.name: row.at_least(row.positives, choice.cuts[row.name]) for row in rows}
    of = {row.name: float(row.positives.sum()) for row in rows}
    others = sum(row.at_least(row.negatives, choice.cuts[row.name]) for row in rows)
    images = sum(of.values())
    yield "classes", {name: _share(has[name], of[name], weight) for name in has}
    yield "all", _share(sum(has.values()), images, weight)
    yield "mean_size", (sum(has.values()) + others) / images
