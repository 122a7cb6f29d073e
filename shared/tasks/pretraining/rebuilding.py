"""What is common to networks that put an image together again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.base import Models, Task
from shared.tasks.look import Look, Shown
from shared.tasks.precision import full
from shared.tasks.pretraining.metrics import ERRORS, RebuiltMetrics
from shared.tasks.pretraining.options import ENCODER, Pretraining
from shared.tasks.programs import Program

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

REBUILT = "rebuilt"
"""Name of what is predicted: the images (B, C, *S) as they were put together again."""


class PretrainingTask(Task):
    """What all ways have in common."""

    def __init__(self, job: "JobSpec", options: Pretraining) -> None:
        super().__init__(job)
        self.options = options

    def encoder_program(self, models: Models) -> Program:
        """Return the encoder, as `program` does where there is one."""
        inputs = {"image": self.image_input()}
        return Program(models[ENCODER], inputs, "features", "features of the image, of no unit", {})


class RebuildingTask(PretrainingTask):
    """Judges images that were put together again, pixel by pixel."""

    def seen(self, batch: Batch) -> Tensor:
        """Return what a network sees (B, C, *S)."""
        images: Tensor = batch["image"]
        return images

    def counted(self, batch: Batch) -> Tensor:
        """Return which pixels count (B, 1, *S); here, all."""
        return torch.ones_like(batch["image"][:, :1], dtype=torch.bool)

    def judged(self, batch: Batch, rebuilt: Tensor) -> Prediction:
        """Return `rebuilt`, and its errors beside those of the mean of what does not count, or of all."""
        images, counted = batch["image"], self.counted(batch)
        others = ~counted
        blank = means(images, others if bool(others.any()) else counted).expand_as(images)
        errors = [_error(full(rebuilt), images, counted), _error(blank, images, counted)]
        return {REBUILT: rebuilt, ERRORS: torch.stack(errors, dim=1)}

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return the mean squared error at the pixels of each image that count (B,)."""
        return predicted[ERRORS][:, 0]

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """See the base class."""
        return RebuiltMetrics(self.job)

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """See the base class: what was seen, what was made of it, and what it was."""
        true = batch["image"]
        made = torch.where(self.counted(batch), predicted[REBUILT].to(true), true)
        parts = [part.detach().float().cpu().numpy() for part in (self.seen(batch), made, true)]
        errors = predicted[ERRORS].double().cpu()
        explained = (1 - errors[:, 0] / errors[:, 1].clamp(min=1e-12)).tolist()
        return [
            Look(
                score,
                f"{score:.0%} explained",
                pictures=(Shown("seen", one), Shown("made of it", two), Shown("true", three)),
            )
            for score, one, two, three in zip(explained, *parts, strict=True)
        ]


def means(images: Tensor, where: Tensor) -> Tensor:
    """Return the mean of each channel (B, C, 1, ...) over some pixels (B, 1, *S)."""
    axes = tuple(range(2, images.dim()))
    return (images * where).sum(axes, keepdim=True) / where.sum(axes, keepdim=True).clamp(min=1)


def _error(made: Tensor, true: Tensor, where: Tensor) -> Tensor:
    """Return the mean squared error (B,) over some pixels and all channels."""
    errors = (made - true).square().mean(1, keepdim=True) * where
    return errors.flatten(1).sum(1) / where.flatten(1).sum(1).clamp(min=1)
