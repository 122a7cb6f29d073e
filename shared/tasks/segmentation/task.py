"""Segmentation of images and volumes into a background and one or more structures."""

from typing import TYPE_CHECKING

import numpy as np
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.base import Models
from shared.tasks.classes import LOGITS, ClassesTask
from shared.tasks.segmentation.metrics import SegmentationMetrics
from shared.tasks.segmentation.options import Segmentation
from shared.tasks.whole_images import Windows, padded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


class SegmentationTask(ClassesTask):
    """A softmax over the background (0) and the structures, in 2D or 3D.

    Targets are class indices (B, *S), uint8.
    """

    def __init__(self, job: "JobSpec", options: Segmentation) -> None:
        super().__init__(job)
        self._options = options
        self._windows = Windows(job)

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty segmentation metrics; they bin no scores."""
        return SegmentationMetrics(self.job, self._options)

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Run the network on images (B, C, *S) of any size."""
        return padded(model, images)

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Return the logits of whole images, without gradients; the network's mode is kept."""
        model = models["model"]
        with eval_mode(model):
            return {LOGITS: self._windows.map_of(model, batch[self.input])}
