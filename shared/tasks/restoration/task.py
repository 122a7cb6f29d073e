"""Restoration: from a degraded image to what it was."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.answers import Answer, Cell, FoundImage
from shared.tasks.base import Models, Task
from shared.tasks.images.closeness import clipped, distances, psnr, ssim
from shared.tasks.images.metrics import MADE, ImageMetrics
from shared.tasks.look import Look, Shown
from shared.tasks.precision import full
from shared.tasks.programs import TENTH, Corrects, Program
from shared.tasks.restoration.blind_spots import hidden
from shared.tasks.restoration.options import DEGRADED, Restoration
from shared.tasks.restoration.spoiling import spoil
from shared.tasks.whole_images import Windows, padded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_MASKED, _SPOTS, _OTHER = "masked", "spots", "other"


class RestorationTask(Task):
    """One network sees a degraded image (B, C, *S) and says what it was, or what to add to it."""

    def __init__(self, job: "JobSpec", options: Restoration) -> None:
        super().__init__(job)
        self._options = options
        self._windows = Windows(job)
        self._channels = [number - 1 for number in options.channels or range(1, job.data.channels + 1)]
        self._fine = any(own.kind == "downsample" for own in options.degradations)

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Add `degraded` (B, C, *S), and what training compares the answer with: see `Restoration`."""
        sources = [torch.Generator().manual_seed(own) for own in batch.seeds(seed)]
        images = self._chosen(batch["image"])
        drawn = {DEGRADED: self._spoilt(images, sources)}
        if self._options.learns_from == "noise2noise" and self._options.reference is None:
            drawn[_OTHER] = self._spoilt(images, sources)
        if self._options.learns_from == "noise2void":
            pairs = zip(drawn[DEGRADED], sources, strict=True)
            masked, spots = zip(*(hidden(one, self._options.spots, own) for one, own in pairs), strict=True)
            drawn |= {_MASKED: torch.stack(masked), _SPOTS: torch.stack(spots)}
        return batch.plus(**drawn)

    def prepare_given(self, batch: Batch, seed: int) -> Batch:
        """Take somebody's own images as they are: nothing is degraded."""
        return batch.plus(**{DEGRADED: self._chosen(batch["image"])})

    def _spoilt(self, images: Tensor, sources: Sequence[torch.Generator]) -> Tensor:
        pairs = zip(images, sources, strict=True)
        return torch.stack([spoil(image, self._options.degradations, source) for image, source in pairs])

    def _chosen(self, images: Tensor) -> Tensor:
        return images[:, self._channels]

    def _truth(self, batch: Batch) -> Tensor:
        """Return the clean images (B, C, *S)."""
        return self._chosen(batch["image" if self._options.reference is None else "reference"])

    def _truth_and_scale(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self._truth(batch), self._chosen(batch["scale"])

    def losses(self, models: Models, batch: Batch) -> Tensor:
        """See the base class."""
        options = self._options
        if options.learns_from == "noise2void":
            return self._blind(models, batch)
        made = self._made(models, batch[DEGRADED])
        is_pair = options.learns_from == "noise2noise" and options.reference is None
        return self._distances(made, batch[_OTHER] if is_pair else self._truth(batch))

    def _distances(self, made: Tensor, true: Tensor) -> Tensor:
        options = self._options
        return distances(full(made), true, power=options.power, share=options.ssim_weight)

    def _blind(self, models: Models, batch: Batch) -> Tensor:
        """Return the mean error (B,) at the pixels that were hidden."""
        errors = full(self._made(models, batch[_MASKED])) - batch[DEGRADED]
        errors = errors.abs() if self._options.power == 1 else errors.square()
        spots = batch[_SPOTS].to(errors)
        return (errors.mean(1, keepdim=True) * spots).flatten(1).sum(1) / spots.flatten(1).sum(1).clamp(min=1)

    def _made(self, models: Models, images: Tensor) -> Tensor:
        """Run the network on images (B, C, *S) as training does."""
        return self._corrected(images, padded(models["model"], images))

    def _corrected(self, images: Tensor, found: Tensor) -> Tensor:
        return images + TENTH * found if self._options.residual else found

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the restored `image` (B, C, *S)."""
        return {MADE: self._made(models, batch[DEGRADED])}

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Return the same of whole images, within 0 and 1."""
        images = batch[DEGRADED]
        with eval_mode(*models.values()):
            found = full(self._windows.map_of(models["model"], images))
        return {MADE: clipped(self._corrected(images, found))}

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return one loss per image (B,): by the clean ones where there are any."""
        if self._options.has_truth:
            return self._distances(predicted[MADE], self._truth(batch))
        if self._options.learns_from == "noise2void":
            with eval_mode(*models.values()):
                return self._blind(models, batch)
        return self._distances(predicted[MADE], self._truth(batch))  # the repetition

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """See the base class."""
        truth = self._truth_and_scale if self._options.has_truth else None
        return ImageMetrics(self.job, DEGRADED, truth, [lambda batch: batch[DEGRADED]])

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """See the base class: what was degraded, what was made of it, and what it was."""
        parts = [clipped(batch[DEGRADED]), predicted[MADE]]
        if self._options.has_truth:
            parts.append(self._truth(batch))
        shown = [part.detach().float().cpu() for part in parts]
        return [self._look(*[part[number] for part in shown]) for number in range(len(batch))]

    def _look(self, degraded: Tensor, made: Tensor, true: Tensor | None = None) -> Look:
        pictures = [Shown("degraded", degraded.numpy()), Shown("restored", made.numpy())]
        if true is None:
            change = float((made - degraded).abs().mean())
            pictures[0] = Shown("given", degraded.numpy())
            return Look(-change, f"changed by {change:.3f} of the range", pictures=tuple(pictures))
        before, after = (float(psnr(one[None], true[None])) for one in (degraded, made))
        pictures.append(Shown("true", true.numpy()))
        return Look(after - before, f"{after:.1f} dB, {before:.1f} before", pictures=tuple(pictures))

    def program(self, models: Models) -> Program:
        """Return the network with what it needs: images to restored ones."""
        corrected = range(len(self._channels)) if self._options.residual else ()
        return Program(
            Corrects(models["model"], self._channels, corrected),
            {"image": self.image_input()},
            "restored",
            "the restored image, within 0 and 1 as it is prepared",
            {"channels": [number + 1 for number in self._channels]},
        )

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """Return each image as it was restored; where the good one of its pair is known, how close it is."""
        given, made = batch[DEGRADED].cpu(), predicted[MADE].detach().cpu()
        cells: list[dict[str, Cell]] = [
            {"mean_change": float(change)} for change in (made - given).abs().flatten(1).mean(1)
        ]
        if self._options.reference is not None and self._options.has_truth and "reference" in batch:
            true = self._truth(batch).cpu()
            for name, image in (("", made), ("_given", clipped(given))):
                for own, decibels, similar in zip(cells, psnr(image, true), ssim(image, true), strict=True):
                    own |= {f"psnr{name}": float(decibels), f"ssim{name}": float(similar)}
        channels = tuple(self._channels)
        return [
            Answer(own, images={"restored": FoundImage(image, "units", channels=channels, fine=self._fine)})
            for own, image in zip(cells, made, strict=True)
        ]
