"""What the tasks share whose one network gives a logit for each class."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from shared.batch import Batch, Prediction
from shared.tasks.base import TRAIN, Models, Phase, Task
from shared.tasks.fields import Field, fields_of, first_of_role
from shared.tasks.losses import SampleLoss, evaluation_loss, public_counts, training_loss
from shared.tasks.options import CLASS_COUNTS

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


def classified_by(job: "JobSpec") -> tuple[str, Field]:
    """Return name and field of the target that the job's task gives a logit for each class of.

    Raises:
        TypeError: It gives none.
    """
    found = job.task.classified()
    if found is None:
        raise TypeError(f"'{job.task.name}' gives no logits of classes")
    return found


LOGITS = "logits"
"""Name of what is predicted: (B, K), or (B, K, *S) where each pixel has a class."""


class ClassesTask(Task):
    """From the first input to logits.

    Attributes:
        input: The field of a batch that the network sees.
        target: The field with the classes.
    """

    def __init__(self, job: "JobSpec") -> None:
        super().__init__(job)
        fields = fields_of(job)
        self.input, self.target = first_of_role(fields, "input"), first_of_role(fields, "target")
        self._evaluation_loss: SampleLoss = evaluation_loss(job)

    def phases(self) -> Sequence[Phase]:
        """See the base class; a loss that weighs classes needs their public shares, or `CLASS_COUNTS`."""
        public = public_counts(self.job)
        loss = training_loss(self.job, self.statistics.get(CLASS_COUNTS) if public is None else public)
        return (self.phase(TRAIN, partial(self._training_losses, loss)),)

    def _training_losses(self, loss: SampleLoss, models: Models, batch: Batch) -> Tensor:
        return self.training_losses(loss, self.forward(models, batch), batch)

    def training_losses(self, loss: SampleLoss, predicted: Prediction, batch: Batch) -> Tensor:
        """Return what training minimises (B,), given the loss of logits and targets."""
        return loss(predicted[LOGITS].float(), batch[self.target])

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the logits of the images of a batch."""
        return {LOGITS: self.logits(models["model"], batch[self.input])}

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Run the network on images (B, C, *S); tasks adapt the sizes to the network here."""
        output: Tensor = model(images)
        return output

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return one loss per image (B,), without class weights."""
        return self._evaluation_loss(predicted[LOGITS], batch[self.target])
