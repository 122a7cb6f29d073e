"""The metrics of a test, and of groups of its patients beside it: one vector of states that add up."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from shared.metrics.group_options import groups_of
from shared.metrics.histograms import Histograms
from shared.metrics.states import MetricSet

if TYPE_CHECKING:
    from shared.tasks.base import Task

TEST = "test"
LEAST_BINS = 5
"""Of the curve of a group: fewer would make a wrong figure of it."""


class GroupedMetrics:
    """Metrics of all patients of a split, and of each group that the job asks for.

    Attributes:
        whole: Of all.
        groups: Of each group, by its name; the order fixes the layout, so it follows from the job alone.
        beside: How many groups each has in its column, itself among them.
    """

    def __init__(self, whole: MetricSet, groups: Mapping[str, MetricSet], beside: Mapping[str, int]) -> None:
        self.whole = whole
        self.groups = groups
        self.beside = beside

    @classmethod
    def of(cls, task: "Task", edges: NDArray[np.float64] | None, split: str) -> Self:
        """Return empty metrics; groups are judged in the test alone, which each model has once."""
        found = list(groups_of(task.job)) if split == TEST else []
        groups = {name: task.metrics(edges) for _, _, name in found}
        return cls(task.metrics(edges), groups, {name: len(own.groups) for own, _, name in found})

    def parts(self) -> Iterator[MetricSet]:
        """Yield all of them, in the order of the states."""
        yield self.whole
        yield from self.groups.values()

    def pack(self) -> NDArray[np.float64]:
        """Return all states as one vector (n,)."""
        return np.concatenate([part.pack() for part in self.parts()])

    def cut(self, packed: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return the states of each part of a packed vector.

        Raises:
            ValueError: Its length is another.
        """
        sizes = [part.pack().size for part in self.parts()]
        if packed.shape != (sum(sizes),):
            raise ValueError(f"metric states: expected ({sum(sizes)},) numbers, got {packed.shape}")
        return np.split(packed, np.cumsum(sizes)[:-1])

    def merge(self, packed: NDArray[np.float64]) -> None:
        """Add the packed states of a site; errors as of `MetricSet.merge`."""
        for part, states in zip(self.parts(), self.cut(packed), strict=True):
            part.merge(states)

    def limits(self, images: int) -> NDArray[np.float64]:
        """Return for each packed number (n,) the largest absolute value that the images can give."""
        return np.concatenate([part.limits(images) for part in self.parts()])

    def counts(self) -> NDArray[np.bool_]:
        """Say which of the packed numbers (n,) are whole counts."""
        return np.concatenate([part.counts() for part in self.parts()])

    def fold(self, most: int) -> None:
        """Merge bins of scores until at most that many hold anything; of a group its part of them.

        A group with fewer than `LEAST_BINS` has none: what is merged lies in the middle of its bins, and of
        so few no curve can be drawn.
        """
        self.whole.fold(most)
        for name, part in self.groups.items():
            part.fold(self.bins_of(name, most))
            if self.bins_of(name, most) < LEAST_BINS:
                _clear_scores(part)

    def bins_of(self, name: str, most: int) -> int:
        """Return how many bins a group has, where all together have that many."""
        return max(1, most // self.beside[name])


def _clear_scores(part: MetricSet) -> None:
    for metric in part.metrics.values():
        if isinstance(metric, Histograms):
            metric.positives.zero_()
            metric.negatives.zero_()
