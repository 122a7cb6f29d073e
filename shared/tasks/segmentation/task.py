"""Segmentation of images and volumes into a background and one or more structures."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from monai.inferers import SlidingWindowInferer
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shared.batch import Batch, Prediction
from shared.metrics import MetricSet
from shared.tasks.base import Models
from shared.tasks.classes import LOGITS, ClassesTask
from shared.tasks.segmentation.metrics import SegmentationMetrics
from shared.tasks.segmentation.options import Segmentation

if TYPE_CHECKING:
    from shared.job import JobSpec

OVERLAP = 0.25  # of neighbouring windows, as MONAI has it; 0.5 would cost 1.5 times as many an axis


class SegmentationTask(ClassesTask):
    """A softmax over the background (0) and the structures, in 2D or 3D.

    Targets are class indices (B, *S), uint8.
    """

    def __init__(self, job: "JobSpec", options: Segmentation) -> None:
        super().__init__(job)
        self._options = options
        self._windows = None
        if job.data.patch is not None:
            self._windows = SlidingWindowInferer(
                roi_size=job.data.patch,
                sw_batch_size=job.training.batch_size,  # what training fitted into memory
                overlap=OVERLAP,
                mode="gaussian",
                padding_mode="replicate",
            )

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty segmentation metrics; they bin no scores."""
        return SegmentationMetrics(self.job, self._options)

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Run the network on images (B, C, *S) of any size.

        A network that halves its input several times says so in its attribute `divisor`; images are padded
        to a multiple of it, by repeating their border, and the logits are cut back.
        """
        divisor = int(getattr(model, "divisor", 1))
        sizes = images.shape[2:]
        missing = [-size % divisor for size in sizes]
        if any(missing):
            pad = [number for extra in reversed(missing) for number in (0, extra)]
            images = functional.pad(images, pad, mode="replicate")
        logits: Tensor = model(images)
        for axis, size in enumerate(sizes, start=2):
            logits = logits.narrow(axis, 0, size)
        return logits

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Return the logits of whole images, without gradients; the network's mode is kept.

        Images larger than `data.patch` along any axis are covered by overlapping windows of that size, whose
        logits are averaged with Gaussian weights (Isensee et al., Nature Methods 2021).
        """
        model, images, patch = models["model"], batch[self.input], self.job.data.patch
        if self._windows is None or patch is None or not _exceeds(images, patch):
            return super().predict(models, batch)
        with eval_mode(model):
            return {LOGITS: self._windows(images, partial(self.logits, model))}


def _exceeds(images: Tensor, patch: list[int]) -> bool:
    return any(size > limit for size, limit in zip(images.shape[2:], patch, strict=True))
