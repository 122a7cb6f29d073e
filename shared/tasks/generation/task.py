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
    "wasserstein": lambda real, drawn: drawn - real,
}
_FOOLS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "logistic": lambda drawn: softplus(-drawn),
    "hinge": lambda drawn: -drawn,
    "wasserstein": lambda drawn: -drawn,
}


class GenerationTask(DrawingTask):
    """Beside each real image one is drawn, of the same class where there are classes."""

    def __init__(self, job: "JobSpec", options: Generation) -> None:
        super().__init__(job, options)
        self._options = options
        self._is_wasserstein = options.loss == "wasserstein"

    def noise(self, sources: list[torch.Generator]) -> dict[str, Tensor]:
        """Return `noise` (B, latent), and for WGAN-GP how much of a mixture is real, `share` (B,)."""
        latent = self._options.latent
        drawn = {"noise": torch.stack([torch.randn(latent, generator=source) for source in sources])}
        if self._is_wasserstein:
            drawn["share"] = torch.stack([torch.rand((), generator=source) for source in sources])
        return drawn

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
        """Return the discriminator's, without a penalty; of WGAN-GP softplus of its own, never below 0."""
        losses = _TELLS[self._options.loss](
            self._realness(models, batch, batch["image"]), predicted["realness"]
        )
        return softplus(losses) if self._is_wasserstein else losses

    def _to_tell(self, models: Models, batch: Batch) -> Tensor:
        images, found = batch["image"], self.forward(models, batch)
        weight, tells = self._options.penalty, _TELLS[self._options.loss]
        if self._is_wasserstein:
            real = self._realness(models, batch, images)
            return tells(real, found["realness"]) + weight * self._unevenness(models, batch, found["image"])
        if weight and not images.requires_grad:
            images = images.detach().requires_grad_()
        real = self._realness(models, batch, images)
        losses = tells(real, found["realness"])
        return losses + weight / 2 * _slope(real, images).square().sum(1) if weight else losses

    def _unevenness(self, models: Models, batch: Batch, drawn: Tensor) -> Tensor:
        """Return by how much the slope between real and drawn images is not 1, squared (B,)."""
        share = batch["share"].view(-1, *[1] * (drawn.dim() - 1))
        mixed = (share * batch["image"] + (1 - share) * drawn).detach().requires_grad_()
        slope = _slope(self._realness(models, batch, mixed), mixed)
        # With 1e-12 the norm has a gradient where all of a slope is 0.
        return ((slope.square().sum(1) + 1e-12).sqrt() - 1).square()

    def _to_fool(self, models: Models, batch: Batch) -> Tensor:
        return _FOOLS[self._options.loss](self.forward(models, batch)["realness"])

    def _realness(self, models: Models, batch: Batch, images: Tensor) -> Tensor:
        """Return the discriminator's answers (B,), which see the class as further channels."""
        answers: Tensor = models["discriminator"](self.with_class(images, batch))[:, 0]
        return answers


def _slope(real: Tensor, images: Tensor) -> Tensor:
    """Return each answer's gradient by its image, as one row (B, C x S)."""
    [slope] = torch.autograd.grad(real.sum(), images, create_graph=True)
    return slope.flatten(1)
