"""Classification of images: two classes, several, or several labels an image."""

from typing import ClassVar

from shared.metrics import MetricSet
from shared.metrics_classification import ClassificationMetrics
from shared.tasks.base import Task


class ClassificationTask(Task):
    """One output a class.

    Targets are int64 (B,) with the class, or float32 (B, K) with 0 and 1 where `multi_label` is set.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"label"})

    @property
    def outputs(self) -> int:
        """One logit a class."""
        return len(self.job.data.classes)

    def metrics(self) -> MetricSet:
        """Return empty classification metrics."""
        return ClassificationMetrics(self.job)
