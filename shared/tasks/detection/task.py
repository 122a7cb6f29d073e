"""Detection of objects in images and volumes: a map whose peaks are their centres, or anchors."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.answers import Answer, Cell, FoundBoxes
from shared.tasks.base import Models, Phase, Task
from shared.tasks.detection import reduction
from shared.tasks.detection.anchors import anchor_losses, decode_anchors
from shared.tasks.detection.maps import PRIOR, Detections, decode, losses
from shared.tasks.detection.metrics import OVERLAPS, DetectionMetrics
from shared.tasks.detection.options import DETECTOR, REDUCER, Detection
from shared.tasks.detection.overlap import found
from shared.tasks.look import Look
from shared.tasks.programs import Pooled, Program
from shared.tasks.whole_images import Windows, padded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

MAPS = "maps"
"""Name of what the network gives: (B, K + 2 D, *S), see `shared.tasks.detection.maps`; of anchors
(B, A, K + 2 D), see `shared.tasks.detection.anchors`."""

_SECOND = "second_losses"  # of the second network, where the true boxes are known
_SHOWN = 0.3  # probability from which a box is drawn
_OVERLAP = 0.3  # intersection over union from which it is right


class DetectionTask(Task):
    """Boxes of several classes, in 2D or 3D.

    Targets are lists of boxes, (N, 2 D + 1) float32 for each image: see `client.data.kinds.boxes`.
    """

    def __init__(self, job: "JobSpec", options: Detection) -> None:
        super().__init__(job)
        self._options = options
        self._windows = Windows(job)
        self._has_anchors = options.method == "anchors"
        self._is_reduced = options.false_positive_reduction
        self._first = DETECTOR if self._is_reduced else "model"

    def phases(self) -> Sequence[Phase]:
        """See the base class."""
        if not self._is_reduced:
            return super().phases()
        return self.phase(DETECTOR, self._finding), self.phase(REDUCER, self._reducing)

    def losses(self, models: Models, batch: Batch) -> Tensor:
        """See the base class."""
        if not self._is_reduced:
            return super().losses(models, batch)
        return self._finding(models, batch) + self._reducing(models, batch)

    def _finding(self, models: Models, batch: Batch) -> Tensor:
        maps = self.forward(models, batch)[MAPS]
        return losses(maps, batch["boxes"], len(self._options.classes), self._options.stride)

    def _reducing(self, models: Models, batch: Batch) -> Tensor:
        """Return the loss of the second network (B,); the first one is asked as it is judged."""
        images = batch["image"]
        with torch.no_grad(), eval_mode(models[DETECTOR]):
            found = self._decoded(self.forward(models, batch)[MAPS], images)
        return self._second_losses(models, batch, found)

    def _second_losses(self, models: Models, batch: Batch, found: Detections) -> Tensor:
        boxes, crop = batch["boxes"], self._options.crop
        return reduction.losses(models[REDUCER], batch["image"], found, boxes, crop)

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the maps of the images of a batch."""
        model, images = models[self._first], batch["image"]
        return {MAPS: model(images) if self._has_anchors else self._pooled(padded(model, images))}

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Return maps, and `boxes` (B, M, 2 D), `scores` (B, M), `classes` (B, M), the best box first."""
        model, images, options = models[self._first], batch["image"], self._options
        if self._has_anchors:
            with eval_mode(model):
                maps = model(images)
            size = images.shape[2:]
            most, largest = options.most_boxes, options.largest_overlap
            anchors = anchors_of(model, size)
            detections = decode_anchors(
                maps, anchors, size, len(options.classes), most=most, largest_overlap=largest
            )
            return {MAPS: maps, **vars(detections)}
        with eval_mode(model):
            maps = self._pooled(self._windows.map_of(model, images))
        detections = self._decoded(maps, images)
        if not self._is_reduced:
            return {MAPS: maps, **vars(detections)}
        return {MAPS: maps, **self._reconsidered(models, batch, detections)}

    def _decoded(self, maps: Tensor, images: Tensor) -> Detections:
        options = self._options
        return decode(
            maps,
            images.shape[2:],
            len(options.classes),
            options.stride,
            most=options.most_boxes,
            largest_overlap=options.largest_overlap,
        )

    def _reconsidered(self, models: Models, batch: Batch, found: Detections) -> Prediction:
        """Return boxes, scores and classes after the second network and, named so, before it."""
        images, crop = batch["image"], self._options.crop
        with torch.no_grad(), eval_mode(models[REDUCER]):
            logits = reduction.judged(models[REDUCER], images, found.boxes, found.classes, crop)
            second = {_SECOND: self._second_losses(models, batch, found)} if "boxes" in batch else {}
        before = {f"{name}_before": own for name, own in vars(found).items()}
        return {**vars(reduction.reconsidered(found, logits)), **before, **second}

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return one loss per image, (B,)."""
        if self._has_anchors:
            anchors = anchors_of(models["model"], batch["image"].shape[2:])
            return anchor_losses(predicted[MAPS], batch["boxes"], anchors, len(self._options.classes))
        found = losses(predicted[MAPS], batch["boxes"], len(self._options.classes), self._options.stride)
        return found + predicted[_SECOND] if self._is_reduced else found

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """See the base class: true boxes, and those that the model takes for likely."""
        drawn = (predicted[name].detach().cpu() for name in ("boxes", "scores", "classes"))
        return [
            self._look(boxes, scores, classes, true.cpu())
            for boxes, scores, classes, true in zip(*drawn, batch["boxes"], strict=True)
        ]

    def _look(self, boxes: Tensor, scores: Tensor, classes: Tensor, true: Tensor) -> Look:
        shown = scores.sigmoid() >= _SHOWN
        boxes, classes = boxes[shown], classes[shown]
        right = sum(
            int(found(boxes[classes == kind], true[true[:, -1] == kind, :-1], _OVERLAP).sum())
            for kind in range(len(self._options.classes))
        )
        every = len(true) + len(boxes)
        says = f"{right} of {len(true)} found, {len(boxes) - right} wrong"
        drawn = torch.cat([boxes, classes[:, None].to(boxes)], dim=1).numpy()
        score = 2 * right / every if every else 1.0
        return Look(score, says, true_boxes=true.numpy(), found_boxes=drawn)

    def _pooled(self, maps: Tensor) -> Tensor:
        """Return the mean of each cell's pixels; those at the end of an axis may be fewer."""
        stride = self._options.stride
        pool = functional.avg_pool2d if maps.ndim == 4 else functional.avg_pool3d
        return maps if stride == 1 else pool(maps, stride, ceil_mode=True)

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty detection metrics; their bins are their own."""
        return DetectionMetrics(self.job, self._options)

    @property
    def most_bins(self) -> int:
        """See the base class: none comes from the coordinator, and a masked sum has fewer all the same."""
        return self.job.evaluation.bins

    def program(self, models: Models) -> Program | None:
        """Return the network: images to the map of the cells, or to what the anchors give; None of two."""
        if self._is_reduced:
            return None
        options, axes = self._options, self.job.data.dimensions
        if self._has_anchors:
            return Program(
                models["model"],
                {"image": self.image_input()},
                MAPS,
                "numbers of each anchor (`anchors`: centre and size in pixels, along each axis): a logit of "
                "each class; how far the object's centre is from the anchor's, in sizes of the anchor; the "
                "logarithm of the object's size over the anchor's",
                {"classes": options.classes, "largest_overlap": options.largest_overlap}
                | {"most_boxes": options.most_boxes}
                | {"anchors": anchors_of(models["model"], self.job.data.size or []).tolist()},
            )
        return Program(
            Pooled(models["model"], options.stride, axes),
            {"image": self.image_input()},
            MAPS,
            "numbers of each cell: a logit of each class, to which `prior` is added and which peaks at the "
            "centres of objects; how far the centre lies from the cell along each axis, in cells; the "
            "logarithm of the object's size along each axis, in cells",
            {"classes": options.classes, "stride": options.stride, "prior": PRIOR}
            | {"largest_overlap": options.largest_overlap, "most_boxes": options.most_boxes},
        )

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """Return the boxes of each image; where the true ones are known, how many of those are found."""
        parts = (predicted[name].detach().cpu() for name in ("boxes", "scores", "classes"))
        answers = []
        for number, (corners, logits, kinds) in enumerate(zip(*parts, strict=True)):
            there = logits.isfinite()
            boxes = FoundBoxes(corners[there], kinds[there], logits[there].double().sigmoid())
            best = float(boxes.scores[0]) if len(boxes.scores) else 0.0
            cells: dict[str, Cell] = {"boxes": len(boxes.scores), "best_score": best}
            if "boxes" in batch:
                cells |= self._compared(boxes, batch["boxes"][number].cpu())
            answers.append(Answer(cells, boxes=boxes))
        return answers

    def _compared(self, boxes: FoundBoxes, truth: Tensor) -> dict[str, int]:
        """Count the true boxes, and those that one of their class overlaps by enough."""
        counts = dict.fromkeys(OVERLAPS.values(), 0)
        for kind in range(len(self._options.classes)):
            own, true = boxes.corners[boxes.classes == kind], truth[truth[:, -1] == kind, :-1]
            for least in counts:
                counts[least] += int(found(own, true, least).sum())
        return {"true_boxes": len(truth)} | {f"found/{least}": count for least, count in counts.items()}


def anchors_of(model: nn.Module, size: Sequence[int]) -> Tensor:
    """Return the anchors (A, 2 D) of a network that has some, on images of a size (*S)."""
    anchors: Callable[[Sequence[int]], Tensor] = model.anchors  # type: ignore[assignment]
    return anchors(size)
