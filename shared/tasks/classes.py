"""What the tasks share whose one network gives a logit for each class."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from shared.batch import Batch, Prediction
from shared.tasks.base import TEACHER, TRAIN, Models, Phase, Task
from shared.tasks.fields import Field, fields_of, first_of_role
from shared.tasks.losses import SampleLoss, evaluation_loss, public_counts, training_loss
from shared.tasks.options import CLASS_COUNTS, ClassesOptions
from shared.tasks.unlabelled.agreement import VIEWS, Agreement, are_known

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


def class_logits(logits: Tensor, label: Field) -> Tensor:
    """Return the logit of each class's own probability (N, K): by these scores classes are judged."""
    return logits if label.several else against_the_rest(logits)


def against_the_rest(logits: Tensor) -> Tensor:
    """Return the logit of each class's softmax probability (N, K): its odds against all others together.

    It orders images as the probability does, also where that rounds to 0 or 1.
    """
    others = torch.stack(
        [
            torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1).logsumexp(dim=1)
            for k in range(logits.shape[1])
        ],
        dim=1,
    )
    return logits - others


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
        table = job.task.unlabelled if isinstance(job.task, ClassesOptions) else None
        self._teacher_decay = None if table is None else table.teacher_decay
        self._agreement = None
        if table is not None and table.learns:
            self._agreement = Agreement(table, dense=fields[self.target].kind == "mask")

    @property
    def teacher_decay(self) -> float | None:
        """See the base class."""
        return self._teacher_decay

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """See the base class: where unlabelled images are learnt from, the seeds of their views are drawn."""
        if self._agreement is None or not batch.keys:
            return batch
        return self._agreement.drawn(batch, seed)

    def phases(self) -> Sequence[Phase]:
        """See the base class; a loss that weighs classes needs their public shares, or `CLASS_COUNTS`."""
        public = public_counts(self.job)
        loss = training_loss(self.job, self.statistics.get(CLASS_COUNTS) if public is None else public)
        if self._agreement is not None:
            return (self.phase(TRAIN, partial(self._partly_known_losses, self._agreement, loss)),)
        return (self.phase(TRAIN, partial(self._training_losses, loss)),)

    def _partly_known_losses(
        self, agreement: Agreement, loss: SampleLoss, models: Models, batch: Batch
    ) -> Tensor:
        """Return the losses (B,) of samples of which some have no target."""
        images, targets = batch[self.input], batch[self.target]
        with torch.no_grad():
            teachers = {role: models[TEACHER + role] for role in self.roles}
            taught = self.forward(teachers, batch)[LOGITS]
        shown = agreement.shown(images, batch[VIEWS], are_known(targets))
        logits = self.forward(models, batch.plus(**{self.input: shown}))[LOGITS]
        return agreement.losses(loss, logits, taught, targets, batch.rounds)

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
