"""Histograms of the scores of single classes, as a choice or a test needs them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shared.metrics.curves import LARGEST_EDGE, Curves
from shared.tasks.fields import Field

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """One class against the others.

    Attributes:
        name: Of the class.
        edges: Of the bins of its logits (B - 1,), strictly increasing; a score on one is in the bin above.
        positives: Images of the class in each bin (B,).
        negatives: Images of the others (B,).
    """

    name: str
    edges: Floats
    positives: Counts
    negatives: Counts

    @cached_property
    def is_known(self) -> bool:
        """Whether there are two bins, and images of both kinds."""
        return len(self.edges) > 0 and bool(self.positives.any()) and bool(self.negatives.any())

    @cached_property
    def middles(self) -> Floats:
        """A logit for each bin (B,): its middle; outer ones count as wide as their neighbours."""
        if len(self.edges) == 1:
            return self.edges[0] + np.array([-1.0, 1.0])
        inner = (self.edges[1:] + self.edges[:-1]) / 2
        first, last = 2 * self.edges[0] - inner[0], 2 * self.edges[-1] - inner[-1]
        return np.clip(np.concatenate([[first], inner, [last]]), -LARGEST_EDGE, LARGEST_EDGE)

    def from_edge(self, counts: Counts) -> Counts:
        """Return how many of the counts lie at each edge or above (B - 1,): exactly, as edges end bins."""
        above: Counts = np.cumsum(counts[::-1])[::-1][1:]
        return above

    def at_least(self, counts: Counts, logit: float) -> float:
        """Return how many counts lie at a logit or above: exactly at an edge, else evenly in its bin."""
        ends = np.concatenate([[-LARGEST_EDGE], self.edges, [LARGEST_EDGE]])
        passed = np.concatenate([self.from_edge(counts), [0]])
        return float(np.interp(logit, ends, np.concatenate([[counts.sum()], passed])))


def rows_of(curves: Curves, label: Field) -> list[Row]:
    """Return a row for each class that has curves; of two exclusive ones for the second, the positive one."""
    return [
        Row(label.classes[k], curves.edges[j], curves.positives[j], curves.negatives[j])
        for j, k in enumerate(label.judged)
    ]


def rows_of_all(curves: Curves, label: Field) -> list[Row]:
    """Return a row for each class: of two exclusive ones the first is the second one's mirror image."""
    return list(_with_mirrored(rows_of(curves, label), label))


def _with_mirrored(rows: list[Row], label: Field) -> Iterator[Row]:
    if len(rows) < len(label.classes):
        [own] = rows
        yield Row(label.classes[0], -own.edges[::-1], own.negatives[::-1], own.positives[::-1])
    yield from rows
