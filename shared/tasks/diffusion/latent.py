"""Diffusion in the codes of an autoencoder: latent diffusion (Rombach et al., CVPR 2022)."""

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.tasks.base import Models
from shared.tasks.diffusion.options import AUTOENCODER, DENOISER, Diffusion, LatentTable
from shared.tasks.diffusion.task import DiffusionTask
from shared.tasks.precision import full
from shared.tasks.vqvae.task import rebuilding

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.networks.vqvae_modules import QuantisedAutoencoder


class LatentDiffusionTask(DiffusionTask):
    """The loss of an image is what its autoencoder misses of it, and what is said of its noisy codes.

    Both networks learn in one phase, and the noise teaches the autoencoder nothing. One that comes from
    another job stays as it is with `[update] parts = ["denoiser"]`. What is drawn is brought to the nearest
    codes, as a part of the decoder (their section 3.1, "VQ-reg").
    """

    role = DENOISER

    def __init__(self, job: "JobSpec", options: Diffusion, latent: LatentTable) -> None:
        super().__init__(job, options)
        self._latent = latent
        self.shape = tuple(options.latent_shape(job.data))

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return `true` and `said` of codes, the image `rebuilt`, and how far features are from codes."""
        found = models[AUTOENCODER](batch["image"])
        mean, deviation = self._scale(models)
        codes = (full(found["codes"]) - mean) / deviation
        rebuilt = found["rebuilt"].sigmoid() if self.unit else found["rebuilt"]
        parts = {"rebuilt": rebuilt, "book": found["book"], "commitment": found["commitment"]}
        return {**self.compared(models, codes, batch), **parts}

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return one loss per image, (B,)."""
        rebuilt = rebuilding(self._latent, predicted, batch["image"])
        return super().sample_losses(models, batch, predicted) + rebuilt

    def drawn(self, models: Models, batch: Batch) -> Tensor:
        """See the base class: what is left without noise, the nearest codes, and the image of these."""
        autoencoder = cast("QuantisedAutoencoder", models[AUTOENCODER])
        mean, deviation = self._scale(models)
        with torch.no_grad():
            codes = self.cleaned(models, batch) * deviation + mean
            image = autoencoder.decoded(autoencoder.nearest(codes.movedim(1, -1)))
        return image.sigmoid() if self.unit else image

    def _scale(self, models: Models) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the codes (W, 1, ...), which bring them to the width of the noise.

        They are the book's, not those of a batch, so that they tell of no image.
        """
        book = full(cast("QuantisedAutoencoder", models[AUTOENCODER]).book.weight.detach())  # (W, K)
        axes = [1] * (len(self.shape) - 1)
        mean, deviation = book.mean(1), book.std(1).clamp(min=1e-3)
        return mean.view(-1, *axes), deviation.view(-1, *axes)
