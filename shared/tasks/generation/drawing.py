"""What tasks share that draw images of nobody: beside each real image one is drawn, and both are compared."""

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.base import Models, Task
from shared.tasks.generation.drawing_options import DrawingOptions
from shared.tasks.generation.features import Features
from shared.tasks.generation.metrics import DRAWN, REAL, GenerationMetrics

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


class DrawingTask(Task):
    """Draws an image for each real one, of the same class where there are classes.

    Attributes:
        options: Of the task.
        unit: Whether the values of images are within 0 and 1.
    """

    def __init__(self, job: "JobSpec", options: DrawingOptions) -> None:
        super().__init__(job)
        self.options = options
        self.unit = job.data.intensity in ("minmax", "percentile", "window")
        size = job.data.size or []
        self._features = Features(job.data.channels, size, options.features, unit=self.unit)

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Add what is drawn for each sample; for nobody's batch also a `label`, each class equally often."""
        sources = [torch.Generator().manual_seed(own) for own in batch.seeds(seed)]
        drawn = self.noise(sources)
        if (classes := len(self.options.classes)) and "label" not in batch:
            drawn["label"] = torch.stack([torch.randint(classes, (), generator=source) for source in sources])
        return batch.plus(**drawn)

    @abstractmethod
    def noise(self, sources: list[torch.Generator]) -> dict[str, Tensor]:
        """Return what is drawn for samples, by name: tensors (B, ...)."""

    @abstractmethod
    def drawn(self, models: Models, batch: Batch) -> Tensor:
        """Return an image for each sample (B, C, *S); networks are in evaluation mode, without gradients."""

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Add what evaluation compares: an `image` (B, C, *S) for each real one, and features of both."""
        with torch.no_grad():
            found = super().predict(models, batch)
            with eval_mode(*models.values()):
                image = found["image"] if "image" in found else self.drawn(models, batch)
            features = self._features.to(image.device)
            seen = {f"{REAL}_features": features(batch["image"]), f"{DRAWN}_features": features(image)}
        return {**found, "image": image, **seen}

    def draw(self, models: Models, count: int, seed: int) -> Tensor:
        """See the base class; classes take turns."""
        device = next(next(iter(models.values())).parameters()).device
        batch = self.prepare(Batch.of_nobody(count), seed)
        if classes := len(self.options.classes):
            batch = batch.plus(label=torch.arange(count) % classes)
        with eval_mode(*models.values()):
            return self.drawn(models, batch.each(lambda _, value: value.to(device)))

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """See the base class."""
        return GenerationMetrics(self.job, self.options)

    def one_hot(self, batch: Batch) -> Tensor:
        """Return the class of each sample (B, K)."""
        return one_hot(batch["label"], len(self.options.classes)).float()

    def with_class(self, images: Tensor, batch: Batch) -> Tensor:
        """Return images (B, C, *S) with the class as further channels, where there are classes."""
        if not self.options.classes:
            return images
        planes = self.one_hot(batch).view(len(images), -1, *[1] * (images.dim() - 2))
        return torch.cat([images, planes.expand(-1, -1, *images.shape[2:])], dim=1)
