"""Registration: a network sees two images and says how the second comes to lie on the first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.answers import Answer, Cell, FoundField, FoundImage
from shared.tasks.base import Models, Task
from shared.tasks.look import Look, Shown
from shared.tasks.programs import Program
from shared.tasks.registration.deformation import Deformation, Moves, fields_of, folded
from shared.tasks.registration.losses import apart, dissimilarity, structures, unevenness
from shared.tasks.registration.metrics import (
    AFFINE_FIELD,
    AFFINE_MOVED,
    FIELD,
    MOVED,
    UNLIKE,
    UNLIKE_AFFINE,
    UNLIKE_BEFORE,
    RegistrationMetrics,
)
from shared.tasks.registration.options import Registration
from shared.tasks.registration.program import Registers
from shared.tasks.segmentation.metrics import count_voxels, dice

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_OWN = "field_own"  # of the network for each pixel alone, after a matrix
_LINES = 6  # pixels between the lines of a grid that is shown as it is moved


class RegistrationTask(Task):
    """Pairs of images of one size, `fixed` and `moving`, in 2D or 3D.

    Masks and points are targets: training sees them where [task] overlap is above 0, and the network never.
    """

    def __init__(self, job: "JobSpec", options: Registration) -> None:
        super().__init__(job)
        self._options = options
        integrated = options.transform == "diffeomorphic"
        self._deformation = Deformation(job.data.size or [], options.stride, integrated=integrated)
        self._is_matrix = options.transform == "affine"
        self._moves = Moves()
        self._unlike = dissimilarity(options, job.data.dimensions)

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the `field` (B, D, *S), the `moved` image, and how unlike the fixed one is to it, (B,)."""
        fixed, moving = batch["fixed"], batch["moving"]
        fields = fields_of(models, fixed, moving, self._deformation, self._moves, is_matrix=self._is_matrix)
        moved = self._moves.image(moving, fields.whole)
        found = {FIELD: fields.whole, _OWN: fields.own, MOVED: moved, UNLIKE: self._unlike(moved, fixed)}
        if fields.affine is None:
            return found
        moved = self._moves.image(moving, fields.affine)
        return found | {
            AFFINE_FIELD: fields.affine,
            AFFINE_MOVED: moved,
            UNLIKE_AFFINE: self._unlike(moved, fixed),
        }

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Add how unlike the images are as they come."""
        with torch.no_grad():
            before = self._unlike(batch["moving"], batch["fixed"])
            return {**super().predict(models, batch), UNLIKE_BEFORE: before}

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return one loss per pair, (B,); a matrix that comes first is also judged by itself."""
        options, field, losses = self._options, predicted[FIELD], predicted[UNLIKE]
        if options.affine_first:
            losses = losses + predicted[UNLIKE_AFFINE]
        if options.smoothness and not self._is_matrix:
            losses = losses + options.smoothness * unevenness(predicted[_OWN], options.regularisation)
        if options.overlap:
            moving, fixed = (
                structures(batch[f"{name}_mask"], len(options.classes)) for name in ("moving", "fixed")
            )
            losses = losses + options.overlap * apart(self._moves.shares(moving, field), fixed)
        return losses

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty registration metrics; they bin no scores."""
        return RegistrationMetrics(self.job, self._options)

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """See the base class: both images, the moving one as it is moved, and a grid that moves with it."""
        field = predicted[FIELD].detach()
        grid = self._moves.image(_grid(field), field)
        scores = self._scores(predicted, batch)
        looks = []
        for number, score in enumerate(scores):
            shown = [
                Shown(
                    title,
                    image[number].float().cpu().numpy(),
                    None if mask is None else mask[number].cpu().numpy(),
                )
                for title, image, mask in self._stages(predicted, batch)
            ]
            low, high = (float(end) for end in batch["fixed"][number].aminmax())
            lines = (low + (high - low) * grid[number]).expand(*batch["fixed"][number].shape)
            shown.append(Shown("field", lines.float().cpu().numpy()))
            words = _in_words(score, overlap=self._has_masks(batch))
            looks.append(Look(score[-1], words, pictures=tuple(shown)))
        return looks

    def _stages(self, predicted: Prediction, batch: Batch) -> list[tuple[str, Tensor, Tensor | None]]:
        """Return what is shown of a batch: a title, the images, and their masks where there are some."""
        stages: list[tuple[str, Tensor, Tensor | None]] = [
            (name, batch[name], batch.values.get(f"{name}_mask")) for name in ("fixed", "moving")
        ]
        if self._options.affine_first:
            mask = self._moved_masks(predicted[AFFINE_FIELD], batch)
            stages.append(("by the matrix", predicted[AFFINE_MOVED], mask))
        return [*stages, (MOVED, predicted[MOVED], self._moved_masks(predicted[FIELD], batch))]

    def _has_masks(self, batch: Batch) -> bool:
        return "moving_mask" in batch and "fixed_mask" in batch

    def _scores(self, predicted: Prediction, batch: Batch) -> list[tuple[float, ...]]:
        """Return of each pair how good it is at each time, first before: the Dice, or how alike both are."""
        times = self._options.times[::-1]
        if self._has_masks(batch):
            parts = [self._overlap(mask, batch).nanmean(1) for mask in self._masks(predicted, batch)]
        else:
            parts = [-predicted[f"{UNLIKE}{time}"] for time in times]
        return list(zip(*(part.double().tolist() for part in parts), strict=True))

    def _masks(self, predicted: Prediction, batch: Batch) -> list[Tensor]:
        """Return the moving masks (B, *S) at each time, first before."""
        found = [batch["moving_mask"]]
        for time in self._options.times[-2::-1]:
            field = predicted[f"{FIELD}{time}"].detach()
            found.append(self._moves.labels(batch["moving_mask"], field))
        return found

    def _overlap(self, mask: Tensor, batch: Batch) -> Tensor:
        return dice(count_voxels(mask.long(), batch["fixed_mask"].long(), len(self._options.classes) + 1))

    def _moved_masks(self, field: Tensor, batch: Batch) -> Tensor | None:
        """Return the moving masks on the fixed images (B, *S); None unless both are known."""
        if not self._has_masks(batch):
            return None
        return self._moves.labels(batch["moving_mask"], field.detach())

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """Return how each pair fits before and after; the moving structures on the fixed image as a map."""
        field, classes = predicted[FIELD].detach().cpu(), self._options.classes
        folds, far = folded(field).tolist(), field.norm(dim=1).flatten(1).max(1).values.tolist()
        times = self._options.times[::-1]
        overlaps = (
            [self._overlap(mask, batch) for mask in self._masks(predicted, batch)]
            if self._has_masks(batch)
            else []
        )
        maps = None
        if "moving_mask" in batch:
            maps = self._moves.shares(
                structures(batch["moving_mask"], len(classes)), predicted[FIELD].detach()
            ).cpu()
        answers = []
        for number in range(len(batch)):
            cells: dict[str, Cell] = {
                f"{UNLIKE}{time}": float(predicted[f"{UNLIKE}{time}"][number]) for time in times
            }
            for values, time in zip(overlaps, times, strict=False):
                cells |= {f"dice{time}/{name}": float(values[number, k]) for k, name in enumerate(classes)}
            cells |= {"folded": folds[number], "largest_displacement_pixels": far[number]}
            answers.append(
                Answer(
                    cells,
                    map=None if maps is None else _scores_of(maps[number]),
                    images={MOVED: FoundImage(predicted[MOVED][number], "units", of="moving")},
                    displacement=FoundField(field[number], to="moving"),
                )
            )
        return answers

    def program(self, models: Models) -> Program:
        """Return the network: two images to the field between them."""
        pixels = self.image_input()
        return Program(
            Registers(models, self._deformation, self._moves, is_matrix=self._is_matrix),
            {"fixed": pixels, "moving": pixels},
            FIELD,
            "a displacement of each pixel, in pixels along each axis: the moving image at a pixel's place "
            "plus its displacement belongs onto the fixed image at this pixel",
            {"transform": self._options.transform},
        )


def _scores_of(shares: Tensor) -> Tensor:
    """Return scores (1 + K, *S) of which the highest is a pixel's class, from shares (K, *S)."""
    return torch.cat([1 - shares.sum(0, keepdim=True), shares])


def _grid(field: Tensor) -> Tensor:
    """Return lines along the first two axes, (B, 1, *S) of 0 and 1."""
    lines = field.new_zeros(len(field), 1, *field.shape[2:])
    lines[:, :, ::_LINES] = 1
    lines[:, :, :, ::_LINES] = 1
    return lines


def _in_words(scores: Sequence[float], *, overlap: bool) -> str:
    """Say how good a pair is before, after a matrix where it comes first, and after."""
    when = ("before", "after the matrix", "after") if len(scores) > 2 else ("before", "after")
    values = [f"{score:.2f}" if overlap else f"{-score:.3g}" for score in scores]
    said = ", ".join(f"{value} {name}" for value, name in zip(values, when, strict=True))
    return f"Dice {said}" if overlap else f"unlike by {said}"
