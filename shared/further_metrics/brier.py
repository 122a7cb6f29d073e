"""The Brier score of a classification."""

from typing import TYPE_CHECKING, Literal

from shared.further_metrics.options import MetricOptions
from shared.tasks.classification.options import Classification, classification_of

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
        return None if isinstance(task, Classification) else "is for classifications"

    def values(self, job: "JobSpec", predicted: "Prediction", batch: "Batch") -> "tuple[Tensor, None]":
        """See the base class."""
        from torch.nn.functional import one_hot

        logits, truth = predicted["logits"].double(), batch["label"]
        if classification_of(job).multi_label:
            return (logits.sigmoid() - truth).square().mean(dim=1, keepdim=True), None
        truth = one_hot(truth, logits.shape[1])
        return (logits.softmax(dim=1) - truth).square().sum(dim=1, keepdim=True), None
