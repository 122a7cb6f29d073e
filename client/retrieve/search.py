"""Exact search among vectors, and how good what was found is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 1024  # queries


@dataclass(frozen=True)
class Found:
    """What was found for one query, the most alike first.

    Attributes:
        places: In the archive (k,).
        likeness: Cosines (k,).
    """

    places: NDArray[np.int64]
    likeness: NDArray[np.float64]


def nearest(
    queries: NDArray[np.float64],
    archive: NDArray[np.float64],
    count: int,
    owners: tuple[Sequence[str], Sequence[str]],
) -> list[Found]:
    """Return what of an archive is most like each query, of other patients; of equals the first.

    Args:
        queries: Vectors of length 1 (Q, N).
        archive: The same (A, N).
        count: How many are found, at most.
        owners: The patient of each query, and of each in the archive.
    """
    names = np.array(owners[1], dtype=object)
    found = []
    for start in range(0, len(queries), _AT_ONCE):
        likeness = queries[start : start + _AT_ONCE] @ archive.T
        for row, owner in zip(likeness, owners[0][start : start + _AT_ONCE], strict=True):
            others = np.flatnonzero(names != owner)
            order = others[np.argsort(-row[others], kind="stable")[:count]]
            found.append(Found(order, row[order]))
    return found


@dataclass(frozen=True)
class Goodness:
    """How often images that were found have the query's label; means over the queries.

    Attributes:
        precision: Share of what was found.
        recall: Share of the queries for which one was found at all.
        mean_average_precision: Of the first k: the mean of the precision at each right one, over as many as
            could be found (Manning, Raghavan and Schuetze 2008, section 8.4).
        chance: The precision of images drawn from the archive.
        queries: How many had a label.
    """

    precision: float
    recall: float
    mean_average_precision: float
    chance: float
    queries: int


def goodness(
    found: Sequence[Found],
    labels: tuple[Sequence[str], Sequence[str]],
    owners: tuple[Sequence[str], Sequence[str]],
) -> Goodness | None:
    """Return how good a search was; None where no query has a label, or nothing in the archive.

    Args:
        found: For each query.
        labels: Of the queries, and of the archive; empty where it is not known.
        owners: The patients, as for `nearest`.
    """
    archive, names = np.array(labels[1], dtype=object), np.array(owners[1], dtype=object)
    rows = []
    for one, label, owner in zip(found, labels[0], owners[0], strict=True):
        right = archive[one.places] == label
        there = archive[names != owner]
        if not label or not len(right):
            continue
        alike = int((there == label).sum())
        at_each = np.cumsum(right) / np.arange(1, len(right) + 1)
        average = at_each[right].sum() / max(1, min(alike, len(right)))
        rows.append((right.mean(), right.any(), average, alike / len(there)))
    if not rows or not any(labels[1]):
        return None
    precision, recall, average, chance = np.mean(rows, axis=0).tolist()
    return Goodness(precision, recall, average, chance, len(rows))
