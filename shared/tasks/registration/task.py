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
from shared.tasks.registration.deformation import Deformation, Moves, folded
from shared.tasks.registration.losses import apart, dissimilarity, structures, unevenness
from shared.tasks.registration.metrics import FIELD, MOVED, UNLIKE, UNLIKE_BEFORE, RegistrationMetrics
from shared.tasks.registration.options import Registration
from shared.tasks.registration.program import Registers
from shared.tasks.segmentation.metrics import count_voxels, dice
from shared.tasks.whole_images import padded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

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
        self._moves = Moves()
        self._unlike = dissimilarity(options, job.data.dimensions)

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the `field` (B, D, *S), the `moved` image, and how unlike the fixed one is to it, (B,)."""
        fixed, moving = batch["fixed"], batch["moving"]
        seen = torch.cat([fixed, moving], dim=1)
        model = models["model"]
        output = model(seen) if self._options.transform == "affine" else padded(model, seen)
        field = self._deformation(output)
        moved = self._moves.image(moving, field)
        return {
            FIELD: field,
            MOVED: moved,
            UNLIKE: self._unlike(moved, fixed),
        }

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Add how unlike the images are as they come."""
        with torch.no_grad():
            before = self._unlike(batch["moving"], batch["fixed"])
            return {**super().predict(models, batch), UNLIKE_BEFORE: before}

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return one loss per pair, (B,)."""
        options, field, losses = self._options, predicted[FIELD], predicted[UNLIKE]
        if options.smoothness and options.transform != "affine":
            losses = losses + options.smoothness * unevenness(field, options.regularisation)
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
        moved = self._moved_masks(predicted, batch)
        scores = self._scores(predicted, batch)
        looks = []
        for number, score in enumerate(scores):
            images = [(name, batch[name][number]) for name in ("fixed", "moving")]
            images.append(("moved", predicted[MOVED][number]))
            low, high = (float(end) for end in images[0][1].aminmax())
            masks = (*(batch.values.get(f"{name}_mask") for name in ("fixed", "moving")), moved)
            shown = [
                Shown(
                    title, image.float().cpu().numpy(), None if mask is None else mask[number].cpu().numpy()
                )
                for (title, image), mask in zip(images, masks, strict=True)
            ]
            lines = (low + (high - low) * grid[number]).expand(len(images[0][1]), *grid.shape[2:])
            shown.append(Shown("field", lines.float().cpu().numpy()))
            looks.append(Look(score[1], _in_words(*score, overlap=moved is not None), pictures=tuple(shown)))
        return looks

    def _scores(self, predicted: Prediction, batch: Batch) -> list[tuple[float, float]]:
        """Return of each pair how good it is before and after: the Dice, or how alike the images are."""
        moved = self._moved_masks(predicted, batch)
        if moved is None:
            parts = (-predicted[name] for name in (UNLIKE_BEFORE, UNLIKE))
        else:
            parts = (self._overlap(mask, batch).nanmean(1) for mask in (batch["moving_mask"], moved))
        return list(zip(*(part.double().tolist() for part in parts), strict=True))

    def _overlap(self, mask: Tensor, batch: Batch) -> Tensor:
        return dice(count_voxels(mask.long(), batch["fixed_mask"].long(), len(self._options.classes) + 1))

    def _moved_masks(self, predicted: Prediction, batch: Batch) -> Tensor | None:
        """Return the moving masks on the fixed images (B, *S); None unless both are known."""
        if "moving_mask" not in batch or "fixed_mask" not in batch:
            return None
        return self._moves.labels(batch["moving_mask"], predicted[FIELD].detach())

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """Return how each pair fits before and after; the moving structures on the fixed image as a map."""
        field, classes = predicted[FIELD].detach().cpu(), self._options.classes
        folds, far = folded(field).tolist(), field.norm(dim=1).flatten(1).max(1).values.tolist()
        moved = self._moved_masks(predicted, batch)
        overlaps = (
            [] if moved is None else [self._overlap(mask, batch) for mask in (batch["moving_mask"], moved)]
        )
        maps = None
        if "moving_mask" in batch:
            maps = self._moves.shares(
                structures(batch["moving_mask"], len(classes)), predicted[FIELD].detach()
            ).cpu()
        answers = []
        for number in range(len(batch)):
            cells: dict[str, Cell] = {
                name: float(predicted[name][number]) for name in (UNLIKE_BEFORE, UNLIKE)
            }
            for values, time in zip(overlaps, ("_before", ""), strict=False):
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
            Registers(models["model"], self._deformation, affine=self._options.transform == "affine"),
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


def _in_words(before: float, after: float, *, overlap: bool) -> str:
    if overlap:
        return f"Dice {before:.2f} before, {after:.2f} after"
    return f"unlike by {-before:.3g} before, by {-after:.3g} after"
