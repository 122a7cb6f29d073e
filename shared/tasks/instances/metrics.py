"""Metrics of instances, from sums over images: panoptic quality, the aggregated Jaccard index, counts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.metrics.figures import Figure, Point
from shared.metrics.replicates import Rivals, Tables
from shared.metrics.states import LARGEST_LOSS, Mean, MetricSet, Totals, bounded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

MATCHED = 0.5  # intersection over union above which two are the same: more than one can't be
MOST = 2**16  # instances of one image
_LARGEST_IMAGE = 2**31  # pixels, where the job does not fix the size


@dataclass(frozen=True)
class Compared:
    """What was found in one image beside what is there.

    Attributes:
        objects: Found, added, and missed (3,).
        overlap: Sum of the intersection over union of those found.
        pixels: Intersections and unions of the aggregated Jaccard index (2,).
    """

    objects: tuple[int, int, int]
    overlap: float
    pixels: tuple[int, int]

    @property
    def quality(self) -> float:
        """Panoptic quality of the image; not a number where there is nothing to find and nothing was."""
        found, added, missed = self.objects
        every = found + (added + missed) / 2
        return self.overlap / every if every else float("nan")


def compare(found: NDArray[np.int32], true: NDArray[np.int32]) -> Compared:
    """Compare two maps of instances (*S), the values 1 to N and any others.

    Two are the same where they overlap by more than half (Kirillov et al., CVPR 2019, section 4.1). For the
    aggregated Jaccard index each true instance is paired with the one that overlaps it most, and what is
    paired with none counts as wrong (Kumar et al., IEEE TMI 36:1550, 2017, algorithm 1).
    """
    shared, mine, theirs = _overlaps(found, true)
    unions = mine[:, None] + theirs[None] - shared
    ratio = shared / np.maximum(unions, 1)
    same = ratio > MATCHED
    matched = int(same.sum())
    objects = matched, len(mine) - matched, len(theirs) - matched
    paired = np.zeros(len(mine), bool)
    inner = outer = 0
    for column in range(len(theirs)):
        best = int(ratio[:, column].argmax()) if len(mine) else 0
        if not len(mine) or not shared[best, column]:
            outer += int(theirs[column])
            continue
        inner, outer = inner + int(shared[best, column]), outer + int(unions[best, column])
        paired[best] = True
    return Compared(objects, float(ratio[same].sum()), (inner, outer + int(mine[~paired].sum())))


def _overlaps(
    found: NDArray[np.int32], true: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels that each two share (N, M), and those of each (N,) and (M,)."""
    (first, mine), (second, theirs) = (
        np.unique(own.ravel(), return_inverse=True) for own in (np.append(found, 0), np.append(true, 0))
    )
    table = np.bincount(mine * len(second) + theirs, minlength=len(first) * len(second))
    table = table.reshape(len(first), len(second))
    return table[1:, 1:], table[1:].sum(1), table[:, 1:].sum(0)


class InstanceMetrics(MetricSet):
    """Mergeable metrics of a job of instances: each is computed once, from the sums over all images."""

    def __init__(self, job: "JobSpec") -> None:
        super().__init__(
            job,
            {
                "loss": Mean(),
                "objects": Totals(3),
                "overlap": Mean(),
                "pixels": Totals(2),
                "count_error": Mean(),
            },
        )

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch: `found` (B, *S) and the true instances (B, *S)."""
        patients = batch.patients
        compared = [
            compare(own.cpu().numpy(), true.cpu().numpy())
            for own, true in zip(predicted["found"], batch["instances"], strict=True)
        ]
        objects = torch.tensor([one.objects for one in compared])
        overlap = torch.tensor([[one.overlap] for one in compared], dtype=torch.float64)
        apart = (objects[:, 1] - objects[:, 2]).abs().double()[:, None]
        self.add("loss", patients, bounded(losses[:, None], LARGEST_LOSS))
        self.add_up("objects", patients, objects)
        self.add("overlap", patients, overlap)
        self.add_up("pixels", patients, torch.tensor([one.pixels for one in compared]))
        self.add("count_error", patients, bounded(apart, MOST))

    def largest(self, name: str, state: str) -> float:
        """See the base class."""
        if state == "count":
            return 1.0
        size = self.job.data.size
        pixels = _LARGEST_IMAGE if size is None else 2 * int(np.prod(size))  # a union counts some twice
        return {"loss": LARGEST_LOSS, "pixels": pixels}.get(name, MOST)

    def report(self) -> dict[str, float]:
        """Compute every metric of the task; not a number where there is nothing to find or to count."""
        found, added, missed = self.metrics["objects"].compute().tolist()
        overlap = self.metrics["overlap"]
        assert isinstance(overlap, Mean)  # noqa: S101 (made above)
        inner, outer = self.metrics["pixels"].compute().tolist()
        total = float(overlap.total[0])
        every = found + (added + missed) / 2
        return {
            "loss": float(self.metrics["loss"].compute()),
            "pq": _share(total, every),
            "sq": _share(total, found),
            "rq": _share(found, every),
            "aji": _share(inner, outer),
            "count_error": float(self.metrics["count_error"].compute()),
        }

    def rivals(self, sites: Mapping[str, Tables]) -> Rivals:
        """See the base class: who never finds any."""
        return Rivals({"constant": dict.fromkeys(("pq", "rq", "aji"), 0.0)})

    def figures(self) -> Iterator[Figure]:
        """See the base class: how many were found, added and missed."""
        names = ("found", "wrongly added", "missed")
        points: list[Point] = [
            ("all", name, count)
            for name, count in zip(names, self.metrics["objects"].compute().tolist(), strict=True)
        ]
        if any(count for *_, count in points):
            yield Figure(
                "instances",
                "Instances found, wrongly added and missed",
                ("of", "what", "instances"),
                points,
                "matrix",
                says="How many of the true instances were found (overlap above a half), and the others.",
            )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
