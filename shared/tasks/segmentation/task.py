"""Segmentation of images and volumes into a background and one or more structures."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.answers import Answer, Cell
from shared.tasks.base import Models
from shared.tasks.classes import LOGITS, ClassesTask
from shared.tasks.look import Look
from shared.tasks.losses import SampleLoss
from shared.tasks.programs import Program, Whole
from shared.tasks.segmentation.metrics import SegmentationMetrics, count_voxels, dice, surface_distances
from shared.tasks.segmentation.options import REGION, Segmentation
from shared.tasks.segmentation.postprocess import cleaned
from shared.tasks.segmentation.raters import FIRST, agreed, given, without_unknown
from shared.tasks.segmentation.region import within
from shared.tasks.unlabelled.agreement import are_known
from shared.tasks.whole_images import Windows, padded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


class SegmentationTask(ClassesTask):
    """A softmax over the background (0) and the structures, in 2D or 3D.

    Targets are class indices (B, *S), uint8.
    """

    def __init__(self, job: "JobSpec", options: Segmentation) -> None:
        super().__init__(job)
        self._options = options
        self._windows = Windows(job)

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty segmentation metrics; they bin no scores."""
        return SegmentationMetrics(self.job, self._options)

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """See the base class: what raters agree on; and outside of the region there is background."""
        batch = super().prepare(batch, seed)
        if self.target not in batch:
            return batch
        masks = {name: batch[name] for name in (self.target, *self._options.raters) if name in batch}
        if self._options.consensus != "mean":
            how, classes = self._options.consensus, self._options.counted
            masks[self.target] = agreed(list(masks.values()), how, classes)
            masks[FIRST] = batch[self.target]
        if REGION in batch:
            masks = {name: mask * (batch[REGION] > 0) for name, mask in masks.items()}
        return batch.plus(**masks)

    def training_losses(self, loss: SampleLoss, predicted: Prediction, batch: Batch) -> Tensor:
        """See the base class: by one mask, or the mean of the losses by each rater who has seen an image.

        Of a cross-entropy it is that by the share of the raters who say so of each pixel.
        """
        raters = given(batch, self._options.raters)
        if len(raters) < 2 or self._options.consensus != "mean":
            return super().training_losses(loss, predicted, batch)
        logits = predicted[LOGITS].float()
        known = torch.stack([are_known(mask) for mask in raters]).to(logits)
        losses = torch.stack([loss(logits, without_unknown(mask)) for mask in raters])
        return (losses * known).sum(dim=0) / known.sum(dim=0)

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """See the base class."""
        return {LOGITS: within(super().forward(models, batch)[LOGITS], batch)}

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Run the network on images (B, C, *S) of any size."""
        return padded(model, images)

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Return the logits of whole images, post-processed, without gradients; keeps the mode."""
        model = models["model"]
        with eval_mode(model):
            found = within(self._windows.map_of(model, batch[self.input]), batch)
        return {LOGITS: cleaned(found, self._options) if self._options.removed_parts else found}

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """See the base class: both masks, and their Dice, the mean over the structures that either has."""
        found, true = predicted[LOGITS].max(dim=1).indices, batch[self.target]
        scores = dice(count_voxels(found, true, predicted[LOGITS].shape[1])).nanmean(dim=1)
        return [
            Look(
                score,
                f"Dice {score:.2f}" if math.isfinite(score) else "nothing there",
                own.cpu().numpy(),
                mask.byte().cpu().numpy(),
            )
            for score, own, mask in zip(scores.tolist(), true, found, strict=True)
        ]

    def program(self, models: Models) -> Program:
        """Return the network: images to a map."""
        return Program(
            Whole(models["model"]),
            {self.input: self.image_input()},
            LOGITS,
            "a logit of the background and of each structure for each pixel; the highest is its class",
            {"classes": ["background", *self._options.classes], **self._options.removed_parts},
        )

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """Return the map of each image; where there is a mask, how right it is on the network's grid."""
        maps = predicted[LOGITS].detach().cpu()
        if self.target not in batch:
            return [Answer({}, map=own) for own in maps]
        found, targets = maps.max(dim=1).indices, batch[self.target].cpu()
        voxels = count_voxels(found, targets, maps.shape[1])
        answers = []
        for number, own in enumerate(maps):
            cells: dict[str, Cell] = {}
            for structure, name in enumerate(self._options.classes):
                counts = voxels[number, :, structure]
                cells[f"dice/{name}"] = float(dice(counts[None, :, None]))
                if self._options.distances:
                    pair = found[number] == structure + 1, targets[number] == structure + 1
                    cells |= self._distances(name, *pair, batch.spacing)
                right, added, missed = counts.tolist()
                cells |= {
                    f"true_positives/{name}": right,
                    f"false_positives/{name}": added,
                    f"false_negatives/{name}": missed,
                }
            answers.append(Answer(cells, map=own))
        return answers

    def _distances(
        self, name: str, found: Tensor, true: Tensor, spacing: Sequence[float] | None
    ) -> dict[str, Cell]:
        hd95 = agreement = math.nan
        if found.any() and true.any():
            both = found[None, None], true[None, None]
            hd95, agreement = surface_distances(*both, spacing, self._options.surface_tolerance)
        elif found.any() or true.any():
            agreement = 0.0
        return {f"hd95/{name}": hd95, f"surface_dice/{name}": agreement}
