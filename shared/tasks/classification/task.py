"""Classification of images: two classes, several, or several labels per image."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shared.metrics.curves import check_edges, first_edges
from shared.metrics.states import MetricSet
from shared.tasks.classes import ClassesTask
from shared.tasks.classification.metrics import ClassificationMetrics
from shared.tasks.classification.options import Classification

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


class ClassificationTask(ClassesTask):
    """One output per class.

    Targets are int64 (B,) with the class, or float32 (B, K) with 0 and 1 where `multi_label` is set.
    """

    def __init__(self, job: "JobSpec", options: Classification) -> None:
        super().__init__(job)
        self._options = options

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty classification metrics."""
        given = self.first_edges(self.job.evaluation.bins) if edges is None else edges
        return ClassificationMetrics(self.job, self._options, given)

    def first_edges(self, bins: int) -> NDArray[np.float64]:
        """See the base class; shape (classes whose scores are judged, bins - 1)."""
        options = self._options
        centre = 0.0 if options.multi_label else -math.log(len(options.classes) - 1)
        return first_edges(self._judged, bins, centre)

    def check_edges(self, edges: NDArray[np.generic] | None, most: int) -> NDArray[np.float64] | None:
        """See the base class."""
        if edges is None:
            return self.first_edges(most)
        return check_edges(edges, self._judged, most)

    @property
    def _judged(self) -> int:
        return len(self._options.judged)
