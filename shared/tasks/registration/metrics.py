"""Metrics of registration: what lies on each other before and after, and where the field folds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.metrics.replicates import PACKED, Rivals, Tables
from shared.metrics.states import LARGEST_LOSS, Mean, MetricSet, bounded
from shared.tasks.registration.deformation import Moves, folded, points_moved
from shared.tasks.registration.options import Registration
from shared.tasks.segmentation.metrics import LARGEST_DISTANCE, count_voxels, dice, surface_distances

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

FIELD, MOVED, UNLIKE, UNLIKE_BEFORE = "field", "moved", "dissimilarity", "dissimilarity_before"
"""What is predicted: the field (B, D, *S), the moved image (B, C, *S), and how unlike the fixed one is to the
moved image and to the moving one, (B,)."""

AFFINE_FIELD, AFFINE_MOVED, UNLIKE_AFFINE = "field_affine", "moved_affine", "dissimilarity_affine"
"""The same of the matrix that comes before the field, where the job has one."""


class RegistrationMetrics(MetricSet):
    """Means over pairs; a pair counts as the patient's whose image is fixed."""

    def __init__(self, job: "JobSpec", options: Registration) -> None:
        self._options, self._moves = options, Moves()
        structures = len(options.classes)
        means = {"loss": Mean()}
        for time in options.times:
            means |= {f"dice{time}": Mean(structures)} if structures else {}
            means |= {f"hd95{time}": Mean(structures)} if options.distances else {}
            means |= {f"tre{time}": Mean()} if options.points else {}
            means[f"dissimilarity{time}"] = Mean()
        super().__init__(job, means | {"folded": Mean()})

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch of pairs, with what `RegistrationTask.predict` says of them."""
        field, patients = predicted[FIELD].detach(), batch.patients
        self.add("loss", patients, bounded(losses[:, None], LARGEST_LOSS))
        self.add("folded", patients, folded(field)[:, None])
        for time in self._options.times:
            unlike = predicted[f"{UNLIKE}{time}"][:, None]
            self.add(f"{UNLIKE}{time}", patients, bounded(unlike, LARGEST_LOSS))
            way = None if time == "_before" else predicted[f"{FIELD}{time}"].detach()
            if self._options.classes:
                moving = batch["moving_mask"]
                self._add_overlap(time, moving if way is None else self._moves.labels(moving, way), batch)
            if self._options.points:
                points = batch["fixed_points"]
                places = points if way is None else list(map(points_moved, points, way))
                self._add_points(time, places, batch)

    def _add_overlap(self, time: str, found: Tensor, batch: Batch) -> None:
        """Add what of the structures lies on those of the fixed image (B, *S)."""
        true, structures = batch["fixed_mask"], len(self._options.classes)
        voxels = count_voxels(found.long(), true.long(), structures + 1)
        self.add(f"dice{time}", batch.patients, dice(voxels).nan_to_num(nan=1.0))
        if not self._options.distances:
            return
        both = (voxels[:, 0] + voxels[:, 1] > 0) & (voxels[:, 0] + voxels[:, 2] > 0)
        far = torch.zeros(both.shape, dtype=torch.float64)
        for pair, structure in both.nonzero().tolist():
            own, other = (part[pair][None, None].cpu() == structure + 1 for part in (found, true))
            far[pair, structure] = surface_distances(own, other, batch.spacing, 1.0)[0]
        self.add(f"hd95{time}", batch.patients, far.clamp(max=LARGEST_DISTANCE), both)

    def _add_points(self, time: str, places: Sequence[Tensor], batch: Batch) -> None:
        """Add how far places of the moving image are from those that belong there, in mm."""
        means = [
            ((one - other).cpu() * length.cpu()).double().norm(dim=1).nanmean()
            for one, other, length in zip(
                places, batch["moving_points"], batch["moving_spacing"], strict=True
            )
        ]
        values = torch.stack(means)[:, None]
        self.add(
            f"tre{time}",
            batch.patients,
            values.nan_to_num(nan=0.0).clamp(max=LARGEST_DISTANCE),
            values.isfinite(),
        )

    def largest(self, name: str, state: str) -> float:
        """See the base class."""
        if state != "total":
            return 1.0
        kind = name.removesuffix("_before").removesuffix("_affine")
        return {
            "loss": LARGEST_LOSS,
            "dissimilarity": LARGEST_LOSS,
            "hd95": LARGEST_DISTANCE,
            "tre": LARGEST_DISTANCE,
        }.get(kind, 1.0)

    def rivals(self, sites: Mapping[str, Tables]) -> Rivals:
        """See the base class: images that are left where they are."""
        states = np.sum([tables[PACKED].numpy() for tables in sites.values()], axis=0)
        still = {}
        for name in (name for name in self.metrics if name.endswith("_before")):
            total, count = (states[self.place(name, state)] for state in ("total", "count"))
            still[name.removesuffix("_before")] = float(np.mean(total / np.maximum(count, 1)))
        return Rivals({"constant": still})

    def report(self) -> dict[str, float]:
        """See the base class."""
        values: dict[str, float] = {}
        for name in (name for name in self.metrics if name in self._names):
            single = self.metrics[name].compute().reshape(-1)
            values[name] = float(single.nanmean())
            if len(single) > 1:
                values |= {
                    f"{name}/{label}": float(one)
                    for label, one in zip(self._options.classes, single, strict=True)
                }
        return values

    @property
    def _names(self) -> set[str]:
        """The metrics of the task."""
        return {"loss", *(spec.name for spec in self._options.metrics())}
