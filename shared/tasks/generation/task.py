"""Generation: one network draws images, another tells them from the hospitals' (Goodfellow et al. 2014)."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot, relu, softplus

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.base import Models, Phase, Task
from shared.tasks.generation.features import Features
from shared.tasks.generation.metrics import DRAWN, REAL, GenerationMetrics
from shared.tasks.generation.options import Generation
from shared.tasks.programs import Draws, Input, Program

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

# Of how real the real one looks, and the drawn one.
_TELLS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logistic": lambda real, drawn: softplus(-real) + softplus(drawn),
    "hinge": lambda real, drawn: relu(1 - real) + relu(1 + drawn),
}
_FOOLS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "logistic": lambda drawn: softplus(-drawn),
    "hinge": lambda drawn: -drawn,
}


class GenerationTask(Task):
    """Beside each real image one is drawn, of the same class where there are classes."""

    def __init__(self, job: "JobSpec", options: Generation) -> None:
        super().__init__(job)
        self._options = options
        self._unit = job.data.intensity in ("minmax", "percentile", "window")
        size = job.data.size or []
        self._features = Features(job.data.channels, size, options.features, unit=self._unit)

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Add `noise` (B, latent); for nobody's batch also a `label`, each class as often as any other."""
        sources = [torch.Generator().manual_seed(own) for own in batch.seeds(seed)]
        latent, classes = self._options.latent, len(self._options.classes)
        drawn = {"noise": torch.stack([torch.randn(latent, generator=source) for source in sources])}
        if classes and "label" not in batch:
            drawn["label"] = torch.stack([torch.randint(classes, (), generator=source) for source in sources])
        return batch.plus(**drawn)

    def phases(self) -> Sequence[Phase]:
        """See the base class."""
        return self.phase("discriminator", self._to_tell), self.phase("generator", self._to_fool)

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return `image` (B, C, *S) as drawn, and how real it looks to the discriminator, `realness` (B,)."""
        vector = batch["noise"]
        if self._options.classes:
            vector = torch.cat([vector, self._one_hot(batch)], dim=1)
        image = models["generator"](vector)
        image = image.sigmoid() if self._unit else image
        return {"image": image, "realness": self._realness(models, batch, image)}

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Add what evaluation compares: `real` (B,), how real the real one looks, and features of both."""
        with torch.no_grad():
            drawn = super().predict(models, batch)
            features = self._features.to(drawn["image"].device)
            return {
                **drawn,
                f"{REAL}_features": features(batch["image"]),
                f"{DRAWN}_features": features(drawn["image"]),
            }

    def draw(self, models: Models, count: int, seed: int) -> Tensor:
        """See the base class; classes take turns."""
        batch = self.prepare(Batch.of_nobody(count), seed)
        if classes := len(self._options.classes):
            batch = batch.plus(label=torch.arange(count) % classes)
        with torch.no_grad():
            return super().predict(models, batch)["image"]

    def program(self, models: Models) -> Program:
        """Return the generator."""
        options = self._options
        inputs = {"noise": Input((options.latent,), "numbers of a standard normal distribution")}
        if options.classes:
            inputs["label"] = Input((), "the index of the class to draw (int64)", len(options.classes))
        module = Draws(models["generator"], len(options.classes), unit=self._unit)
        says = "images of nobody, in the range that preprocessing.json gives images"
        return Program(module, inputs, "image", says, {"classes": list(options.classes)})

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return the discriminator's, without a penalty."""
        return _TELLS[self._options.loss](
            self._realness(models, batch, batch["image"]), predicted["realness"]
        )

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """See the base class."""
        return GenerationMetrics(self.job, self._options.features)

    def _to_tell(self, models: Models, batch: Batch) -> Tensor:
        images, drawn = batch["image"], self.forward(models, batch)["realness"]
        weight = self._options.penalty
        if weight and not images.requires_grad:
            images = images.detach().requires_grad_()
        real = self._realness(models, batch, images)
        losses = _TELLS[self._options.loss](real, drawn)
        return losses + weight / 2 * _steepness(real, images) if weight else losses

    def _to_fool(self, models: Models, batch: Batch) -> Tensor:
        return _FOOLS[self._options.loss](self.forward(models, batch)["realness"])

    def _realness(self, models: Models, batch: Batch, images: Tensor) -> Tensor:
        """Return the discriminator's answers (B,), which see the class as further channels."""
        if self._options.classes:
            planes = self._one_hot(batch).view(len(images), -1, *[1] * (images.dim() - 2))
            images = torch.cat([images, planes.expand(-1, -1, *images.shape[2:])], dim=1)
        answers: Tensor = models["discriminator"](images)[:, 0]
        return answers

    def _one_hot(self, batch: Batch) -> Tensor:
        return one_hot(batch["label"], len(self._options.classes)).float()


def _steepness(real: Tensor, images: Tensor) -> Tensor:
    """Return the squared norm (B,) of each answer's gradient by its image (Mescheder et al. 2018, R1)."""
    [slope] = torch.autograd.grad(real.sum(), images, create_graph=True)
    return slope.square().flatten(1).sum(1)
