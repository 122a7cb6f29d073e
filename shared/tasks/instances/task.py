"""Instances: every object of a kind, told apart from those that it touches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.answers import Answer, Cell
from shared.tasks.base import Models, Task
from shared.tasks.instances import directions
from shared.tasks.instances.maps import depth_of, instances_of, losses
from shared.tasks.instances.metrics import InstanceMetrics, compare
from shared.tasks.instances.options import Instances
from shared.tasks.look import Look
from shared.tasks.programs import Program, Whole
from shared.tasks.whole_images import Windows, padded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

MAPS, FOUND = "maps", "found"
"""Names of what the network gives (B, K, *S), and of the instances in it, int32 (B, *S)."""

DEPTH, DIRECTIONS = "depth", "directions"  # of the true instances, in a prepared batch
_SAYS = {
    "depth": "and of the depth in its object, 1 in the middle; cores are deeper than `least_depth`, and a "
    "watershed of the depth grows them",
    "directions": "and, no logits, what a hyperbolic tangent makes of where in its object it lies along each "
    "axis, from -1 to 1; where that falls at once from 1 to -1 is the seam between two",
    "components": "; each connected piece is an object",
}


class InstancesTask(Task):
    """Foreground and depth, or directions, of each pixel, cut into instances where it is judged; 2D and 3D.

    Targets are numbers of instances (B, *S), int32.
    """

    def __init__(self, job: "JobSpec", options: Instances) -> None:
        super().__init__(job)
        self._options = options
        self._windows = Windows(job)
        self.targets |= {DEPTH, DIRECTIONS}

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """See the base class: where pixels lie in the instances as augmentation has left them."""
        found = {DEPTH: depth_of, DIRECTIONS: directions.directions_of}.get(self._options.apart)
        if found is None or "instances" not in batch:
            return batch
        maps = [torch.from_numpy(found(own.numpy())) for own in batch["instances"]]
        return batch.plus(**{self._options.apart: torch.stack(maps)})

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the maps of the images of a batch."""
        return {MAPS: padded(models["model"], batch["image"])}

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Return the maps of whole images and the instances in them."""
        model, options = models["model"], self._options
        with eval_mode(model):
            maps = self._windows.map_of(model, batch["image"])
        if options.apart == DIRECTIONS:
            found = directions.instances_by_directions(maps, options.seam, options.least_size)
        else:
            found = instances_of(maps, options.least_depth, options.least_size)
        return {MAPS: maps, FOUND: found}

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return one loss per image, (B,)."""
        maps, true = predicted[MAPS], batch["instances"]
        if self._options.apart == DIRECTIONS:
            return directions.losses(maps, true, batch[DIRECTIONS])
        return losses(maps, true, batch[DEPTH] if self._options.apart == DEPTH else None)

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty metrics; they bin no scores."""
        return InstanceMetrics(self.job)

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """See the base class: both maps, and how many of the true instances were found."""
        return [
            self._look(own.cpu().numpy(), true.cpu().numpy())
            for own, true in zip(predicted[FOUND], batch["instances"], strict=True)
        ]

    def _look(self, own: NDArray[np.int32], true: NDArray[np.int32]) -> Look:
        compared = compare(own, true)
        found, added, missed = compared.objects
        says = f"{found} of {found + missed} found, {added} wrong"
        return Look(compared.quality, says, true=true, found=own)

    def program(self, models: Models) -> Program:
        """Return the network: images to a map."""
        options = self._options
        return Program(
            Whole(models["model"]),
            {"image": self.image_input()},
            MAPS,
            "logits of each pixel: of the foreground (an object above probability 0.5) "
            + _SAYS[options.apart],
            {
                "classes": options.classes,
                "least_depth": options.least_depth,
                "seam": options.seam,
                "least_size": options.least_size,
            },
        )

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """Return the instances of each image and their number; where the true ones are known, how right."""
        answers = []
        for number, own in enumerate(predicted[FOUND]):
            counts = torch.bincount(own.flatten())[1:]
            size = float(counts.double().mean()) if len(counts) else float("nan")
            cells: dict[str, Cell] = {"instances": len(counts), "mean_pixels": size}
            if "instances" in batch:
                compared = compare(own.numpy(), batch["instances"][number].cpu().numpy())
                found, added, missed = compared.objects
                cells |= {"true_instances": found + missed, "found": found, "wrong": added}
                cells |= {"pq": compared.quality}
            answers.append(Answer(cells, instances=own))
        return answers
