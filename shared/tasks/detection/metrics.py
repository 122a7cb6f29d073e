"""Metrics of detection, from histograms of right and wrong boxes over bins of their scores.

A box is right where it overlaps a true one of its class by 0.3, or by 0.5, that no better one has taken. A
true box that none finds counts as a right one with the lowest score there is, so a histogram tells of all of
them, and what is withheld of it is withheld of the missed ones too.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.metrics.curves import Curves
from shared.metrics.figures import Figure, Point, thinned
from shared.metrics.histograms import Histograms, Scores
from shared.metrics.replicates import Rivals, Tables
from shared.metrics.states import LARGEST_LOSS, Mean, MetricSet, Totals, bounded
from shared.tasks.detection.options import Detection
from shared.tasks.detection.overlap import found

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

OVERLAPS = {"ap30": 0.3, "ap50": 0.5}
"""Intersection over union at which a box is right, by the name of the figure."""

LEAST_BINS = 3  # of a curve, that hold anything
_LOWEST, _HIGHEST = -7.0, 4.0  # logits between which the bins are
_LARGEST_TRUTH = 2**16  # true boxes of one image
_FALSE_PER_IMAGE = 1.0  # at which sensitivity is reported
_MOST_FALSE = 8.0  # up to which the curve is drawn
_FROC = "ap30"  # whose overlap it is reported for


class DetectionMetrics(MetricSet):
    """Mergeable metrics of a detection job.

    The bins are the same in every evaluation. Each figure and class has a histogram of its own, as a box is
    of one class, and the number of images that are behind it.
    """

    def __init__(self, job: "JobSpec", options: Detection) -> None:
        self.options = options
        self.edges = np.linspace(_LOWEST, _HIGHEST, job.evaluation.bins + 1)[None, 1:-1]
        self._parts: dict[str, list[tuple[str, Tensor, Tensor]]] = {}
        curves = {curve_name(*pair): Histograms(self.edges) for pair in self._pairs}
        images = {images_name(*pair): Totals(1) for pair in self._pairs}
        super().__init__(job, {"loss": Mean(), **curves, **images})

    @property
    def _pairs(self) -> list[tuple[str, str]]:
        names = [f"{name}{time}" for time in self.options.times for name in OVERLAPS]
        return list(product(names, self.options.classes))

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch: `boxes` (B, M, 2 D), `scores` (B, M) and `classes` (B, M), and the true boxes."""
        self.add("loss", batch.patients, bounded(losses[:, None], LARGEST_LOSS))
        ones = torch.ones(len(batch), 1, dtype=torch.int64)
        for pair in self._pairs:
            self.add_up(images_name(*pair), batch.patients, ones)
        for time in self.options.times:
            parts = [predicted[f"{name}{time}"].detach().cpu() for name in ("boxes", "scores", "classes")]
            self._count_boxes(time, batch, *parts)

    def _count_boxes(self, time: str, batch: Batch, boxes: Tensor, scores: Tensor, classes: Tensor) -> None:
        for number, patient in enumerate(batch.patients):
            truth = batch["boxes"][number].cpu()
            for kind, label in enumerate(self.options.classes):
                chosen = (classes[number] == kind) & scores[number].isfinite()
                true = truth[truth[:, -1] == kind, :-1]
                for name in OVERLAPS:
                    pair = (f"{name}{time}", label)
                    self._count(pair, patient, boxes[number][chosen], scores[number][chosen], true)

    def _count(
        self, pair: tuple[str, str], patient: str, boxes: Tensor, scores: Tensor, truth: Tensor
    ) -> None:
        """Count the boxes of one image and class, the best first, and those of the truth that were missed."""
        right = found(boxes, truth, OVERLAPS[pair[0].removesuffix("_before")])
        missed = len(truth) - int(right.sum())
        every = torch.cat([scores.double(), torch.full((missed,), -torch.inf, dtype=torch.float64)])
        is_right = torch.cat([right, torch.ones(missed, dtype=torch.bool)])
        histogram = self.metrics[curve_name(*pair)]
        assert isinstance(histogram, Histograms)  # noqa: S101 (made above)
        histogram.update(every[:, None], is_right[:, None].long())
        bins = histogram.bins_of(every[:, None])
        self._parts.setdefault(curve_name(*pair), []).append((patient, bins, is_right))

    def scores(self) -> Mapping[str, Scores]:
        """See the base class."""
        return {curve_name(*pair): self._scores(*pair) for pair in self._pairs}

    def _scores(self, name: str, label: str) -> Scores:
        parts = self._parts[curve_name(name, label)]
        patients = [patient for patient, _, right in parts for _ in range(len(right))]
        bins = torch.cat([bins for _, bins, _ in parts])
        right = torch.cat([right for *_, right in parts])
        beside = images_name(name, label)
        return Scores(
            np.array(patients),
            bins.numpy(),
            right[:, None].numpy(),
            several=True,
            judged=self.values(beside).patients.tolist(),
            beside=(beside,),
        )

    def rivals(self, sites: Mapping[str, Tables]) -> Rivals:
        """See the base class: who never draws a box finds nothing."""
        names = [f"{name}{time}" for time in self.options.times for name in (*OVERLAPS, "sensitivity_1fp")]
        return Rivals({"constant": dict.fromkeys(names, 0.0)})

    def figures(self) -> Iterator[Figure]:
        """See the base class: boxes found against wrong ones, as the score that is asked for falls."""
        froc: list[Point] = []
        precision: list[Point] = []
        for time, label in product(self.options.times, self._labels):
            counts = self._counts(f"{_FROC}{time}", label)
            images = float(self.metrics[images_name(f"{_FROC}{time}", label)].compute())
            line = f"{label}, first network" if time else label
            if counts is None or not images:
                continue
            right, wrong = (np.append(0, np.cumsum(row[:0:-1])).astype(float) for row in counts)
            found = right / counts[0].sum()
            near = wrong / images <= _MOST_FALSE
            froc += [(line, *point) for point in thinned(wrong[near] / images, found[near])]
            some = right + wrong > 0
            precision += [
                (line, *point) for point in thinned(found[some], right[some] / (right + wrong)[some])
            ]
        if froc:
            yield Figure(
                "froc",
                "FROC curve (overlap of 0.3)",
                ("class", "wrong boxes per image", "share of the true boxes found"),
                froc,
                says="The share of the true boxes that are found against the wrong boxes for each image.",
            )
            yield Figure(
                "precision-recall",
                "Precision and recall (overlap of 0.3)",
                ("class", "recall", "precision"),
                precision,
                says="Precision against recall over all thresholds of the score.",
                unit=True,
            )

    def largest(self, name: str, state: str) -> float:
        """See the base class."""
        if name == "loss":
            return LARGEST_LOSS if state == "total" else 1
        return {"positives": _LARGEST_TRUTH, "negatives": self.options.most_boxes}.get(state, 1)

    def report(self) -> dict[str, float]:
        """Compute every metric of the task: means over the classes, then the single classes."""
        values = {"loss": float(self.metrics["loss"].compute())}
        for time in self.options.times:
            for name in (f"{name}{time}" for name in OVERLAPS):
                self._add_up_classes(values, name, [self._precision(name, label) for label in self._labels])
            found = [self._sensitivity(f"{_FROC}{time}", label) for label in self._labels]
            self._add_up_classes(values, f"sensitivity_1fp{time}", found)
        return values

    @property
    def _labels(self) -> Sequence[str]:
        return self.options.classes

    def _add_up_classes(self, values: dict[str, float], name: str, single: list[float]) -> None:
        known = [value for value in single if not np.isnan(value)]
        values[name] = sum(known) / len(known) if known else float("nan")
        values |= {f"{name}/{label}": value for label, value in zip(self._labels, single, strict=True)}

    def _counts(self, name: str, label: str) -> NDArray[np.int64] | None:
        """Return the boxes in each bin, right and wrong ones (2, B); None where they make no curve."""
        counts: NDArray[np.int64] = self.metrics[curve_name(name, label)].compute()[:, 0].numpy()
        has_curve = counts[0].any() and np.count_nonzero(counts.any(axis=0)) >= LEAST_BINS
        return counts if has_curve else None

    def _precision(self, name: str, label: str) -> float:
        """Return the average precision of a class: 0 at each true box that is missed."""
        counts = self._counts(name, label)
        if counts is None:
            return float("nan")
        right, wrong = counts.copy()
        right[0] = 0
        if not right.any():
            return 0.0
        precision = Curves(self.edges, right[None], wrong[None]).average_precision()[0]
        return float(precision * right.sum() / counts[0].sum())

    def _sensitivity(self, name: str, label: str) -> float:
        """Return the share of the true boxes found where there is one wrong box for each image."""
        counts, images = self._counts(name, label), float(self.metrics[images_name(name, label)].compute())
        if counts is None or not images:
            return float("nan")
        right, wrong = (np.append(0, np.cumsum(row[:0:-1])) for row in counts)
        return float(np.interp(_FALSE_PER_IMAGE * images, wrong, right) / counts[0].sum())


def curve_name(name: str, label: str) -> str:
    """Return the name of the histogram of a figure and a class."""
    return f"{name}/{label}"


def images_name(name: str, label: str) -> str:
    """Return the name of the number of images behind that histogram."""
    return f"{name}/{label} images"
