"""Diffusion: noise is added to an image, and a network learns to tell what of it is noise."""

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from monai.networks.schedulers import DDIMScheduler, RFlowScheduler
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.tasks.base import Models
from shared.tasks.diffusion.options import STEPS, Diffusion
from shared.tasks.generation.drawing import DrawingTask
from shared.tasks.precision import full

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


class DiffusionTask(DrawingTask):
    """One loss per image: the mean squared error of what is said of it at one amount of noise.

    Which amount, and which noise, is drawn by the sample's seed.

    Attributes:
        role: Of the network that takes noise out.
        shape: Of what noise is added to (C, *S).
    """

    role = "model"

    def __init__(self, job: "JobSpec", options: Diffusion) -> None:
        super().__init__(job, options)
        self._is_flow = options.method == "flow"
        self.shape = (job.data.channels, *(job.data.size or []))
        self._noises = DDIMScheduler(
            STEPS,
            "scaled_linear_beta",
            clip_sample=self.unit and options.latent is None,
            beta_start=0.0015,  # how much noise the first step adds, and the last
            beta_end=0.0195,
        )
        self._flows = RFlowScheduler(STEPS)
        self._noises.set_timesteps(options.drawing_steps)
        self._flows.set_timesteps(options.drawing_steps)

    def noise(self, sources: list[torch.Generator]) -> dict[str, Tensor]:
        """Return `noise` (B, C, *S), and of 0 to 1 how much of it there is, `amount` (B,)."""
        return {
            "noise": torch.stack([torch.randn(self.shape, generator=source) for source in sources]),
            "amount": torch.stack([torch.randint(STEPS, (), generator=source) / STEPS for source in sources]),
        }

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return what the network should have said of each image and what it said, `true` and `said`."""
        return self.compared(models, self._centred(batch["image"]), batch)

    def compared(self, models: Models, image: Tensor, batch: Batch) -> Prediction:
        """Return the same of what noise is added to (B, C, *S), about as wide as the noise itself."""
        noise = batch["noise"]
        amount = batch["amount"]
        times = (amount.detach() * STEPS).round().long().clamp(0, STEPS - 1)
        if self._is_flow:
            noisy, true = self._flows.add_noise(image, noise, times), image - noise
        else:
            noisy, true = self._noises.add_noise(image, noise, times), noise
        return {"true": true, "said": self._said(models, noisy, amount, batch)}

    def _said(self, models: Models, noisy: Tensor, amount: Tensor, batch: Batch) -> Tensor:
        """Run the network on noisy images (B, C, *S), and how noisy they are (B,), from 0 to 1."""
        clock = amount.to(noisy).view(-1, 1, *[1] * (noisy.dim() - 2)).expand(-1, 1, *noisy.shape[2:])
        said: Tensor = models[self.role](self.with_class(torch.cat([noisy, clock], dim=1), batch))
        return full(said)

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return one loss per image, (B,)."""
        return (predicted["said"] - predicted["true"]).square().flatten(1).mean(1)

    def drawn(self, models: Models, batch: Batch) -> Tensor:
        """See the base class: from the sample's own noise, without further chance."""
        with torch.no_grad():
            return self._uncentred(self.cleaned(models, batch))

    def cleaned(self, models: Models, batch: Batch) -> Tensor:
        """Return what is left when all noise is taken out of nothing else (B, C, *S)."""
        return (self._flown if self._is_flow else self._cleaned)(models, batch["noise"], batch)

    def _cleaned(self, models: Models, image: Tensor, batch: Batch) -> Tensor:
        for time in self._noises.timesteps.tolist():
            said = self._said(models, image, torch.full((len(image),), time / STEPS), batch)
            image, _ = self._noises.step(said, time, image)
        return image

    def _flown(self, models: Models, image: Tensor, batch: Batch) -> Tensor:
        for time, following in pairwise([*self._flows.timesteps.tolist(), 0]):
            said = self._said(models, image, torch.full((len(image),), time / STEPS), batch)
            image, _ = self._flows.step(said, time, image, following)
        return image

    def _centred(self, image: Tensor) -> Tensor:
        """Return an image as noise is added to it: from -1 to 1 where its values are from 0 to 1."""
        return 2 * image - 1 if self.unit else image

    def _uncentred(self, image: Tensor) -> Tensor:
        return ((image + 1) / 2).clamp(0, 1) if self.unit else image
