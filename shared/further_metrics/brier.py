"""The Brier score of a classification."""

from typing import TYPE_CHECKING, Literal

from shared.further_metrics.options import MetricOptions, classified_as

if TYPE_CHECKING:
    from torch import Tensor

    from shared.batch import Batch, Prediction
    from shared.job.schema import JobSpec
    from shared.tasks.options import TaskOptions


class Brier(MetricOptions):
    """Squared distance of an image's probabilities from the truth, summed over the classes: 0 to 2.

    With several labels, the mean over the labels: 0 to 1 (Brier, Monthly Weather Review 1950).
    """

    lower_is_better = True
    largest = 2.0

    name: Literal["brier"]

    def problem(self, task: "TaskOptions") -> str | None:
        """See the base class."""
        return None if classified_as(task, "label") else "is for tasks that give a sample a class"

    def values(self, job: "JobSpec", predicted: "Prediction", batch: "Batch") -> "tuple[Tensor, None]":
        """See the base class."""
        from torch.nn.functional import one_hot

        [(name, label)] = classified_as(job.task, "label")
        logits, truth = predicted["logits"].double(), batch[name]
        if label.several:
            return (logits.sigmoid() - truth).square().mean(dim=1, keepdim=True), None
        truth = one_hot(truth, logits.shape[1])
        return (logits.softmax(dim=1) - truth).square().sum(dim=1, keepdim=True), None
