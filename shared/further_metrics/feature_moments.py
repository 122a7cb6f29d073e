"""Sums of a network's features, from which follows how unusual another image is."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.further_metrics.options import MetricOptions, classified_as, unless_one_class

if TYPE_CHECKING:
    from torch import Tensor

    from shared.batch import Batch, Prediction
    from shared.job.schema import JobSpec
    from shared.tasks.options import TaskOptions

FEATURES = "features"
"""Name of the features (B, N), of length 1 at most, among what a task predicts."""
ENERGIES = (-10.0, 30.0, 80)  # ends and number of the bins of energies


class FeatureMoments(MetricOptions):
    """Spread of the features within the classes: the trace of their covariance; small where they are tight.

    The states are class means, second moments and energies of images, as sums over the sites. From those of
    the test `wardround predict` says how unusual an image is (docs/robustness.md). A site whose policy bounds
    sums leaves them out.
    """

    lower_is_better = True
    largest = 1.0
    signed = True
    exact = True  # hundreds of numbers, on each of which noise would be large

    name: Literal["feature_moments"]
    features: int = Field(
        32, ge=2, le=128, description="Numbers that the features of an image are projected to, at random."
    )

    def problem(self, task: "TaskOptions") -> str | None:
        """See the base class."""
        return unless_one_class(task)

    def columns(self, task: "TaskOptions") -> int:
        """See the base class: shares and means of the classes, second moments, shares of the energies."""
        [(_, label)] = classified_as(task, "label")
        classes, features = len(label.classes), self.features
        return classes + classes * features + features * (features + 1) // 2 + ENERGIES[2]

    def values(self, job: "JobSpec", predicted: "Prediction", batch: "Batch") -> "tuple[Tensor, Tensor]":
        """See the base class; the mean of a class is over its own images."""
        import torch
        from torch.nn.functional import one_hot

        [(name, label)] = classified_as(job.task, "label")
        found, logits = predicted[FEATURES].double(), predicted["logits"].double()
        of_class = one_hot(batch[name], len(label.classes)).double()
        means = (of_class[:, :, None] * found[:, None]).flatten(1)
        row, column = torch.triu_indices(self.features, self.features).to(found.device)
        low, high, bins = ENERGIES
        place = (logits.logsumexp(dim=1) - low) / (high - low) * bins
        energies = one_hot(place.long().clamp(0, bins - 1), bins).double()
        values = torch.cat([of_class, means, found[:, row] * found[:, column], energies], dim=1)
        counted = torch.ones_like(values, dtype=torch.bool)
        start = len(label.classes)
        counted[:, start : start + means.shape[1]] = of_class.bool().repeat_interleave(self.features, dim=1)
        return values, counted

    def figure(self, task: "TaskOptions", means: "Tensor") -> float:
        """See the base class."""
        from shared.further_metrics.familiar import Familiar

        return Familiar.of(self, task, means).spread


def moments_of(job: "JobSpec") -> FeatureMoments:
    """Return how a job asks for the sums; with its defaults, where it does not."""
    found = (own for own in job.evaluation.metrics if isinstance(own, FeatureMoments))
    return next(found, FeatureMoments(name="feature_moments"))
