"""Classification of images: two classes, several, or several labels an image."""

import math

import numpy as np
from numpy.typing import NDArray

from shared.curves import check_edges, first_edges
from shared.metrics import MetricSet
from shared.metrics_classification import ClassificationMetrics, judged_classes
from shared.tasks.base import Task


class ClassificationTask(Task):
    """One output a class.

    Targets are int64 (B,) with the class, or float32 (B, K) with 0 and 1 where `multi_label` is set.
    """

    @property
    def outputs(self) -> int:
        """One logit a class."""
        return len(self.job.data.classes)

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty classification metrics."""
        given = self.first_edges(self.job.evaluation.bins) if edges is None else edges
        return ClassificationMetrics(self.job, given)

    def first_edges(self, bins: int) -> NDArray[np.float64]:
        """See the base class; shape (classes whose scores are judged, bins - 1)."""
        classes = len(self.job.data.classes)
        centre = 0.0 if self.job.data.multi_label else -math.log(classes - 1)
        return first_edges(self._judged, bins, centre)

    def check_edges(self, edges: NDArray[np.generic] | None, most: int) -> NDArray[np.float64] | None:
        """See the base class."""
        if edges is None:
            return self.first_edges(most)
        return check_edges(edges, self._judged, most)

    @property
    def _judged(self) -> int:
        return len(judged_classes(self.job))
