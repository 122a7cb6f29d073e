"""Adversarial training: the images of a step are changed against the model before it learns from them."""

from torch import Tensor

from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.networks.modes import asked
from shared.tasks.attacks import Attack
from shared.tasks.base import Models, Phase
from shared.tasks.fields import fields_of


def attacked(batch: Batch, job: JobSpec, phase: Phase, models: Models, seed: int) -> Batch:
    """Return a batch whose images raise the loss of a phase; as it is, where the job does not ask for it.

    An image's change depends on no other sample: the networks are in evaluation mode, so that batch norm
    mixes none, and what is drawn follows from the sample's content.

    Args:
        batch: Prepared, where the networks are.
        job: Says how far.
        phase: What is minimised.
        models: The networks.
        seed: Of the step.
    """
    table = job.training.adversarial
    if table is None:
        return batch
    fields = fields_of(job).items()
    image = next(name for name, own in fields if own.role == "input" and own.kind == "image")
    attack = Attack.of(job, table.epsilon, table.steps, drawn=True)

    def losses(images: Tensor) -> Tensor:
        return phase.loss(models, batch.plus(**{image: images})).float()

    with asked(models.values()):
        return batch.plus(**{image: attack.on(batch[image], losses, batch.seeds(seed))})
