"""Generation: one network draws images, another tells them from the hospitals' (Goodfellow et al. 2014)."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from shared.batch import Batch, Prediction
from shared.tasks.base import Models, Phase
from shared.tasks.generation.drawing import DrawingTask
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


class GenerationTask(DrawingTask):
    """Beside each real image one is drawn, of the same class where there are classes."""

    def __init__(self, job: "JobSpec", options: Generation) -> None:
        super().__init__(job, options)
        self._options = options

    def noise(self, sources: list[torch.Generator]) -> dict[str, Tensor]:
        """Return `noise` (B, latent)."""
        latent = self._options.latent
        return {"noise": torch.stack([torch.randn(latent, generator=source) for source in sources])}

    def phases(self) -> Sequence[Phase]:
        """See the base class."""
        return self.phase("discriminator", self._to_tell), self.phase("generator", self._to_fool)

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return `image` (B, C, *S) as drawn, and how real it looks to the discriminator, `realness` (B,)."""
        image = self.drawn(models, batch)
        return {"image": image, "realness": self._realness(models, batch, image)}

    def drawn(self, models: Models, batch: Batch) -> Tensor:
        """See the base class."""
        vector = batch["noise"]
        if self._options.classes:
            vector = torch.cat([vector, self.one_hot(batch)], dim=1)
        image: Tensor = models["generator"](vector)
        return image.sigmoid() if self.unit else image

    def program(self, models: Models) -> Program:
        """Return the generator."""
        options = self._options
        inputs = {"noise": Input((options.latent,), "numbers of a standard normal distribution")}
        if options.classes:
            inputs["label"] = Input((), "the index of the class to draw (int64)", len(options.classes))
        module = Draws(models["generator"], len(options.classes), unit=self.unit)
        says = "images of nobody, in the range that preprocessing.json gives images"
        return Program(module, inputs, "image", says, {"classes": list(options.classes)})

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return the discriminator's, without a penalty."""
        return _TELLS[self._options.loss](
            self._realness(models, batch, batch["image"]), predicted["realness"]
        )

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
        answers: Tensor = models["discriminator"](self.with_class(images, batch))[:, 0]
        return answers


def _steepness(real: Tensor, images: Tensor) -> Tensor:
    """Return the squared norm (B,) of each answer's gradient by its image (Mescheder et al. 2018, R1)."""
    [slope] = torch.autograd.grad(real.sum(), images, create_graph=True)
    return slope.square().flatten(1).sum(1)
