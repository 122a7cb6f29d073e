"""A variational autoencoder (Kingma and Welling 2014, "Auto-encoding variational Bayes")."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.tasks.base import Models
from shared.tasks.generation.drawing import DrawingTask
from shared.tasks.precision import full
from shared.tasks.programs import Draws, Input, Program
from shared.tasks.vae.options import VAE

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_LARGEST = 10.0  # of the logarithm of a variance, so that no exponential of it overflows


class VAETask(DrawingTask):
    """The loss of an image is the negative evidence bound for each of its numbers, in nats."""

    def __init__(self, job: "JobSpec", options: VAE) -> None:
        super().__init__(job, options)
        self._vae = options

    def noise(self, sources: list[torch.Generator]) -> dict[str, Tensor]:
        """Return `noise` (B, latent)."""
        return {"noise": torch.stack([torch.randn(self._vae.latent, generator=source) for source in sources])}

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the image as it is put together again, `rebuilt`; `mean` and `log_variance` (B, latent)."""
        seen = full(models["encoder"](self.with_class(batch["image"], batch)))
        mean, log_variance = seen.chunk(2, dim=1)
        log_variance = log_variance.clamp(-_LARGEST, _LARGEST)
        code = mean + (log_variance / 2).exp() * batch["noise"]
        return {"rebuilt": self._decoded(models, code, batch), "mean": mean, "log_variance": log_variance}

    def drawn(self, models: Models, batch: Batch) -> Tensor:
        """See the base class: from the prior."""
        return self._decoded(models, batch["noise"], batch)

    def _decoded(self, models: Models, code: Tensor, batch: Batch) -> Tensor:
        vector = torch.cat([code, self.one_hot(batch)], dim=1) if self.options.classes else code
        image: Tensor = models["decoder"](vector)
        return image.sigmoid() if self.unit else image

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return the squared differences over twice the variance, and the divergence from the prior, (B,)."""
        images, mean, log_variance = batch["image"], predicted["mean"], predicted["log_variance"]
        away = (full(predicted["rebuilt"]) - images).square().flatten(1).sum(1)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return (away / (2 * self._vae.deviation**2) + divergence) / images[0].numel()

    def program(self, models: Models) -> Program:
        """Return the decoder."""
        inputs = {"noise": Input((self._vae.latent,), "numbers of a standard normal distribution")}
        if classes := len(self.options.classes):
            inputs["label"] = Input((), "the index of the class to draw (int64)", classes)
        module = Draws(models["decoder"], classes, unit=self.unit)
        says = "images of nobody, in the range that preprocessing.json gives images"
        return Program(module, inputs, "image", says, {"classes": list(self.options.classes)})
