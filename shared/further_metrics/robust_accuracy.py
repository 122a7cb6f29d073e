"""Accuracy on images that were changed against the model."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.further_metrics.options import MetricOptions, classified_as, unless_one_class

if TYPE_CHECKING:
    from torch import Tensor

    from shared.batch import Batch, Prediction
    from shared.job.schema import JobSpec
    from shared.tasks.options import TaskOptions

ATTACKED = "attacked"
"""Name of the logits of changed images, among what a task predicts."""


class RobustAccuracy(MetricOptions):
    """Share of samples whose class is still right when their image is changed against the model.

    Each site attacks its own images, by FGSM (one step) or PGD; see `shared.tasks.attacks`. It is an upper
    bound: another attack may find worse.
    """

    largest = 1.0

    name: Literal["robust_accuracy"]
    epsilon: float = Field(
        0.1,
        gt=0,
        le=1000,
        description="Largest change of each number of an image, in the units of prepared images: deviations "
        "with 'zscore', and parts of the range with the others.",
    )
    steps: int = Field(10, ge=1, le=200, description="Steps of PGD; 1 is FGSM.")

    def problem(self, task: "TaskOptions") -> str | None:
        """See the base class."""
        return unless_one_class(task)

    def values(self, job: "JobSpec", predicted: "Prediction", batch: "Batch") -> "tuple[Tensor, None]":
        """See the base class."""
        [(name, _)] = classified_as(job.task, "label")
        return (predicted[ATTACKED].argmax(dim=1) == batch[name]).double()[:, None], None
