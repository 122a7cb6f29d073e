"""Reconstruction: a network corrects an image step by step, and what was measured comes in between."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.base import Models, Task
from shared.tasks.images.closeness import clipped, distances, psnr
from shared.tasks.images.metrics import MADE, ImageMetrics
from shared.tasks.look import Look, Shown
from shared.tasks.precision import full
from shared.tasks.programs import TENTH
from shared.tasks.reconstruction.options import DIRECT, Reconstruction
from shared.tasks.whole_images import padded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


class ReconstructionTask(Task):
    """Measures images at the site by a seeded recipe, and learns to make them of what was measured."""

    def __init__(self, job: "JobSpec", options: Reconstruction) -> None:
        super().__init__(job)
        self._options = options
        self._scanner = options.measurement.scanner()

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Add what is measured of each image, and `direct` (B, C, *S), which is made of it untrained."""
        images = self._truth(batch)
        sources = [torch.Generator().manual_seed(own) for own in batch.seeds(seed)]
        each = [self._scanner.measure(*pair) for pair in zip(images, sources, strict=True)]
        measured = {name: torch.stack([one[name] for one in each]) for name in each[0]}
        measured |= self._scanner.known(measured)
        return batch.plus(**measured, **{DIRECT: self._scanner.direct(measured, tuple(images.shape[2:]))})

    def _truth(self, batch: Batch) -> Tensor:
        """Return the true images (B, 1, *S)."""
        return self._chosen(batch["image"])

    def _chosen(self, values: Tensor) -> Tensor:
        return values[:, [self._options.channel - 1]]

    def _truth_and_scale(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self._truth(batch), self._chosen(batch["scale"])

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the `image` (B, 1, *S), and what else the scanner says of it."""
        image = batch[DIRECT]
        channels = image.shape[1]
        memory = image.new_zeros(len(image), self._options.memory, *image.shape[2:])
        for step in range(self._options.steps):
            if step:
                image = self._scanner.consistent(image, batch)
            seen = torch.cat([self._scanner.guided(image, batch), memory], dim=1)
            found = full(padded(models["model"], seen))
            image, memory = image + TENTH * found[:, :channels], found[:, channels:]
        return self._scanner.finished(image, batch)

    def losses(self, models: Models, batch: Batch) -> Tensor:
        """See the base class."""
        return self._distances(self.forward(models, batch)[MADE], batch)

    def _distances(self, made: Tensor, batch: Batch) -> Tensor:
        options = self._options
        return distances(full(made), self._truth(batch), power=options.power, share=options.ssim_weight)

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Return the same, the image within 0 and 1."""
        with eval_mode(*models.values()):
            found = self.forward(models, batch)
        return {**found, MADE: clipped(found[MADE])}

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return one loss per image (B,)."""
        return self._distances(predicted[MADE], batch)

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """See the base class."""
        return ImageMetrics(self.job, DIRECT, self._truth_and_scale, [self._direct])

    def _direct(self, batch: Batch) -> Tensor:
        return self._scanner.shown(batch[DIRECT])

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """See the base class: the direct image, the answer, and what was measured of."""
        parts = [clipped(self._direct(batch)), predicted[MADE], self._truth(batch)]
        shown = [part.detach().float().cpu() for part in parts]
        return [self._look(*[part[number] for part in shown]) for number in range(len(batch))]

    def _look(self, direct: Tensor, made: Tensor, true: Tensor) -> Look:
        before, after = (float(psnr(one[None], true[None])) for one in (direct, made))
        named = (self._options.measurement.direct, direct), ("reconstructed", made), ("true", true)
        pictures = tuple(Shown(title, image.numpy()) for title, image in named)
        return Look(after - before, f"{after:.1f} dB, {before:.1f} before", pictures=pictures)
