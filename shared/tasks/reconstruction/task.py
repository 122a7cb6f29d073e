"""Reconstruction: a network corrects an image step by step, and what was measured comes in between."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.answers import Answer, FoundImage
from shared.tasks.base import Models, Task
from shared.tasks.images.closeness import clipped, distances, psnr
from shared.tasks.images.metrics import MADE, ImageMetrics
from shared.tasks.look import Look, Shown
from shared.tasks.precision import full
from shared.tasks.programs import TENTH
from shared.tasks.reconstruction.options import DIRECT, RAW, Reconstruction
from shared.tasks.whole_images import padded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

TRUE = "true"


class ReconstructionTask(Task):
    """Measures images at the site by a seeded recipe, and learns to make them of what was measured."""

    def __init__(self, job: "JobSpec", options: Reconstruction) -> None:
        super().__init__(job)
        self._options = options
        self._scanner = options.measurement.scanner()

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Add what is measured of each image, and `direct` (B, C, *S), which is made of it untrained."""
        true = self._truth(batch)
        sources = [torch.Generator().manual_seed(own) for own in batch.seeds(seed)]
        measure, of = (self._scanner.again, batch[RAW]) if RAW in batch else (self._scanner.measure, true)
        each = [measure(*pair) for pair in zip(of, sources, strict=True)]
        measured = {name: torch.stack([one[name] for one in each]) for name in each[0]}
        return self._measured(batch.plus(**{TRUE: true}), measured)

    def prepare_given(self, batch: Batch, seed: int) -> Batch:
        """Take a measurement as it is: nothing is left out."""
        return self._measured(batch, self._scanner.given(batch[RAW]))

    def _measured(self, batch: Batch, measured: dict[str, Tensor]) -> Batch:
        measured = measured | self._scanner.known(measured)
        size = tuple(self.job.data.size or ())
        return batch.plus(**measured, **{DIRECT: self._scanner.direct(measured, size)})

    def _truth(self, batch: Batch) -> Tensor:
        """Return the true images (B, 1, *S)."""
        return self._scanner.truth(batch[RAW]) if RAW in batch else self._chosen(batch["image"])

    def _chosen(self, values: Tensor) -> Tensor:
        return values[:, [self._options.channel - 1]]

    def _truth_and_scale(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the true images, and what 0 and 1 of them stand for: k-space has units of its own."""
        true = batch[TRUE]
        if "scale" in batch:
            return true, self._chosen(batch["scale"])
        return true, true.new_tensor([0.0, 1.0]).expand(len(true), 1, 2)

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the `image` (B, 1, *S), and what else the scanner says of it."""
        model, image = models["model"], batch[DIRECT]
        if self._options.method == "variational":
            return self._scanner.at_once(model, batch)
        # A network of its own for each step.
        stages = cast(nn.ModuleList, model.stages) if self._options.method == "cascade" else None
        channels = image.shape[1]
        memory = image.new_zeros(len(image), self._options.memory, *image.shape[2:])
        for step in range(self._options.steps if stages is None else len(stages)):
            if step:
                image = self._scanner.consistent(image, batch)
            seen = torch.cat([self._scanner.guided(image, batch), memory], dim=1)
            found = full(padded(model, seen) if stages is None else model(seen, step))
            image, memory = image + TENTH * found[:, :channels], found[:, channels:]
        return self._scanner.finished(image, batch)

    def losses(self, models: Models, batch: Batch) -> Tensor:
        """See the base class."""
        return self._distances(self.forward(models, batch)[MADE], batch)

    def _distances(self, made: Tensor, batch: Batch) -> Tensor:
        options = self._options
        return distances(full(made), batch[TRUE], power=options.power, share=options.ssim_weight)

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
        return ImageMetrics(self.job, DIRECT, self._truth_and_scale, [self._scanner.untrained])

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """See the base class: the direct image, the answer, and what was measured of."""
        parts = [clipped(self._scanner.untrained(batch)), predicted[MADE], batch[TRUE]]
        shown = [part.detach().float().cpu() for part in parts]
        return [self._look(*[part[number] for part in shown]) for number in range(len(batch))]

    def _look(self, direct: Tensor, made: Tensor, true: Tensor) -> Look:
        before, after = (float(psnr(one[None], true[None])) for one in (direct, made))
        named = (self._options.measurement.direct, direct), ("reconstructed", made), ("true", true)
        pictures = tuple(Shown(title, image.numpy()) for title, image in named)
        return Look(after - before, f"{after:.1f} dB, {before:.1f} before", pictures=pictures)

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """Return each image that was made of a measurement, beside the one that is made without training."""
        direct, made = clipped(self._scanner.untrained(batch)).cpu(), predicted[MADE].detach().cpu()
        return [
            Answer(
                {"mean_change": float((after - before).abs().mean())},
                images={"reconstructed": FoundImage(after, "share", given=before)},
            )
            for before, after in zip(direct, made, strict=True)
        ]
