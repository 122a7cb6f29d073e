"""Classification of bags and series: a class for all instances of a sample together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.networks.aggregator_modules import CLUSTERS
from shared.tasks.answers import Answer
from shared.tasks.base import Models
from shared.tasks.classification.task import ClassificationTask
from shared.tasks.look import Look
from shared.tasks.losses import SampleLoss
from shared.tasks.stack_options import StackTable
from shared.tasks.stacks import StackedTask, Stacks

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


class StackedClassification(StackedTask, ClassificationTask):
    """As the classification of images, but for what the networks see, and the attention that they pay."""

    def __init__(self, job: "JobSpec", stack: StackTable) -> None:
        super().__init__(job)
        self.stacks = Stacks(stack)

    def training_losses(self, loss: SampleLoss, predicted: Prediction, batch: Batch) -> Tensor:
        """See the base class; where instances are told apart, the loss of that too."""
        losses = super().training_losses(loss, predicted, batch)
        if CLUSTERS not in predicted:
            return losses
        return losses + _cluster_losses(predicted[CLUSTERS], batch[self.target])

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """See the base class; with the attention that each instance got, where the network pays any."""
        found = super().answers(batch, predicted)
        return [
            replace(
                answer,
                cells={**answer.cells, "instances": len(batch[self.input][number])},
                attention=self.stacks.attention(predicted, batch, number),
            )
            for number, answer in enumerate(found)
        ]

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """See the base class; in place of the image those instances that got the most attention."""
        return [
            replace(look, pictures=self.stacks.pictures(predicted, batch, number))
            for number, look in enumerate(super().looks(predicted, batch))
        ]

    def program(self, models: Models) -> None:
        """Return None: samples have any number of instances, which a program of fixed inputs can't have."""


def _cluster_losses(clusters: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over the classes (B,) of the losses (B, K, 2) of being in each class or not.

    Args:
        clusters: The losses.
        targets: Classes (B,), or 0 and 1 for each (B, K).
    """
    several = targets.is_floating_point()
    within = targets if several else torch.nn.functional.one_hot(targets, clusters.shape[1])
    return torch.where(within > 0, clusters[..., 0], clusters[..., 1]).mean(dim=1)
