"""What a metric that a job may ask for says about itself; reading it loads no PyTorch."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from shared.metrics.spec import MetricSpec
from shared.table import Table

if TYPE_CHECKING:
    from torch import Tensor

    from shared.batch import Batch, Prediction
    from shared.job.schema import JobSpec
    from shared.tasks.fields import Field
    from shared.tasks.options import TaskOptions


class MetricOptions(Table):
    """A metric with one value, or one for each of some classes, of every sample; the metric is their mean.

    The values are added up like any mean of a task: the federation's figure is the pooled one, and a hospital
    bounds what it tells of them (docs/metrics.md).

    Attributes:
        lower_is_better: Whether a smaller value is the better one.
        largest: Largest absolute value; what is beyond counts as this.
        signed: Whether a value may be below 0; the coordinator refuses a sum below 0 otherwise.
        exact: Whether it is worth nothing with noise on it: a site with `min_group` above 1 leaves it out.

    Example:
        ::

            class Sureness(MetricOptions):
                largest = 1.0
                name: Literal["sureness"]

                def problem(self, task: TaskOptions) -> str | None:
                    return None if classified_as(task, "label") else "is for tasks that give a sample a class"

                def values(self, job, predicted, batch):
                    return predicted["logits"].softmax(dim=1).amax(dim=1, keepdim=True), None
    """

    lower_is_better: ClassVar[bool] = False
    largest: ClassVar[float]
    signed: ClassVar[bool] = False
    exact: ClassVar[bool] = False

    name: str

    @abstractmethod
    def problem(self, task: "TaskOptions") -> str | None:
        """Return why a task can't have this metric, to be read behind its name, or None."""

    def classes(self, task: "TaskOptions") -> Sequence[str]:
        """Return the names of a sample's values, where it has several."""
        return ()

    def columns(self, task: "TaskOptions") -> int:
        """Return how many values a sample has: one for each class, or a single one."""
        return max(1, len(self.classes(task)))

    def figure(self, task: "TaskOptions", means: "Tensor") -> float:
        """Return the metric from the means of the values (columns,)."""
        return float(means.nanmean())

    @abstractmethod
    def values(
        self, job: "JobSpec", predicted: "Prediction", batch: "Batch"
    ) -> "tuple[Tensor, Tensor | None]":
        """Return the values of a batch (B, columns), and which of them are defined (all for None).

        Args:
            job: Asks for the metric.
            predicted: What the task's `predict` returned.
            batch: The fields of the samples, on the same device.
        """

    def spec(self, task: "TaskOptions") -> MetricSpec:
        """Return what tables need to know of it."""
        classes = self.classes(task)
        return MetricSpec(self.name, self.lower_is_better, classes=classes if len(classes) > 1 else ())


def classified_as(task: "TaskOptions", kind: str) -> "list[tuple[str, Field]]":
    """Return name and field of the target of this kind that a task gives `logits` for; nothing for none."""
    found = task.classified()
    return [found] if found is not None and found[1].kind == kind else []


def unless_one_class(task: "TaskOptions") -> str | None:
    """Return why a task can't have a metric of images that have one class each, or None; for `problem`."""
    labels = classified_as(task, "label")
    inputs = [own.kind for own in task.fields().values() if own.role == "input"]
    if labels and not labels[0][1].several and inputs == ["image"]:
        return None
    return "is for tasks that give an image one class"
