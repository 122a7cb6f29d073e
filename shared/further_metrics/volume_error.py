"""How far the volume of a structure is off."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from shared.further_metrics.options import MetricOptions, classified_as

if TYPE_CHECKING:
    from torch import Tensor

    from shared.batch import Batch, Prediction
    from shared.job.schema import JobSpec
    from shared.tasks.options import TaskOptions


class VolumeError(MetricOptions):
    """Absolute volume difference as a share of the true volume, of images that have the structure.

    Without its sign, as challenges report it (Kuijf et al., IEEE TMI 2019); 10 is the most of one image.
    """

    lower_is_better = True
    largest = 10.0

    name: Literal["volume_error"]

    def problem(self, task: "TaskOptions") -> str | None:
        """See the base class."""
        return None if classified_as(task, "mask") else "is for tasks that give each pixel a class"

    def classes(self, task: "TaskOptions") -> Sequence[str]:
        """Return the structures."""
        return [name for _, mask in classified_as(task, "mask") for name in mask.classes]

    def values(self, job: "JobSpec", predicted: "Prediction", batch: "Batch") -> "tuple[Tensor, Tensor]":
        """See the base class."""
        import torch

        [(name, _)] = classified_as(job.task, "mask")
        logits, truth = predicted["logits"], batch[name]
        found, structures = logits.max(dim=1).indices, range(1, logits.shape[1])
        axes = tuple(range(1, truth.ndim))
        volumes = [
            torch.stack([(mask == structure).sum(dim=axes) for structure in structures], dim=1).double()
            for mask in (found, truth)
        ]
        there = volumes[1] > 0
        return (volumes[0] - volumes[1]).abs() / volumes[1].clamp(min=1), there
