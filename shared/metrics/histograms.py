"""Metrics of scores from bins: histograms for curves, and bins of confidence for calibration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

CALIBRATION_BINS = 15

Mask = NDArray[np.bool_]


class Histograms(Metric):
    """How many samples of a class, and of the others, have a score in each bin of the class.

    Args:
        edges: Scores (K, B - 1), strictly increasing; a score on an edge is in the bin above.
    """

    full_state_update = False
    positives: Tensor
    negatives: Tensor

    def __init__(self, edges: NDArray[np.float64]) -> None:
        super().__init__(compute_with_cache=False)
        self._edges = torch.from_numpy(np.ascontiguousarray(edges, dtype=np.float64))
        shape = len(edges), edges.shape[1] + 1
        self.add_state("positives", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("negatives", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def bins_of(self, scores: Tensor) -> Tensor:
        """Return the bins (N, K) of scores (N, K), float64."""
        return torch.searchsorted(self._edges, scores.T.contiguous(), right=True).T

    def update(self, scores: Tensor, truth: Tensor) -> None:
        """Add scores (N, K), float64, and whether each sample is of each class (N, K), 0 or 1."""
        bins = self.bins_of(scores).T
        self.positives.scatter_add_(1, bins, truth.T.contiguous())
        self.negatives.scatter_add_(1, bins, 1 - truth.T.contiguous())

    def fold(self, most: int) -> None:
        """Merge neighbouring bins until at most `most` hold anything."""
        self.positives, self.negatives = folded(self.positives, most), folded(self.negatives, most)

    def compute(self) -> Tensor:
        """Return the counts (2, K, B): of the class, and of the others."""
        return torch.stack([self.positives, self.negatives])


class CalibrationBins(Metric):
    """Expected calibration error from equal-width bins of confidence (Naeini et al., AAAI 2015).

    torchmetrics' own keeps every confidence, which would be scores of single patients.
    """

    full_state_update = False
    count: Tensor
    confidence: Tensor
    correct: Tensor

    def __init__(self, bins: int = CALIBRATION_BINS) -> None:
        super().__init__(compute_with_cache=False)
        self.bins = bins
        self.add_state("count", torch.zeros(bins, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("confidence", torch.zeros(bins, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("correct", torch.zeros(bins, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, confidence: Tensor, correct: Tensor) -> None:
        """Add confidences (N,) in 0..1 and whether each was right (N,)."""
        index = (confidence * self.bins).long().clamp(0, self.bins - 1)
        self.count.index_add_(0, index, torch.ones_like(index))
        self.confidence.index_add_(0, index, confidence)
        self.correct.index_add_(0, index, correct.long())

    def fold(self, most: int) -> None:
        """Merge neighbouring bins until at most `most` hold anything."""
        self.count, self.correct = folded(self.count, most), folded(self.correct, most)
        self.confidence = folded(self.confidence, most)

    def centre(self, most: int) -> None:
        """Take every image of a bin to be as confident as its middle, once at most `most` bins are left.

        The counts say no more than that, and one patient's confidence is in no sum.
        """
        for first, end in runs(self.bins, most):
            at = (first + end - 1) // 2
            self.confidence[at] = self.count[at] * (first + end) / (2 * self.bins)

    def compute(self) -> Tensor:
        """Return the mean gap between confidence and share of right ones, weighted by the bins' counts."""
        return (self.confidence - self.correct).abs().sum() / self.count.sum()


@dataclass(frozen=True)
class Scores:
    """Which samples stand in which bins of `Histograms`; about single patients, it stays at their site.

    Attributes:
        patients: Names (N,).
        bins: Of the scores (N, K).
        truth: Whether each sample is of each class (N, K).
        decided: Whether it was taken for one (N, K), where numbers that leave tell how many were; None where
            nothing does.
        exclusive: Whether each sample is of one class exactly, so that the others tell the size of one.
        several: Whether a patient's image may have any number of samples, so that one of them could steer a
            count as he could a sum.
        judged: Names of the patients who were judged, also those without a sample; empty where all have some.
        beside: Metrics of as many columns as there are classes, that mean nothing where the histogram of
            their class is withheld, and go with it.
    """

    patients: NDArray[np.str_]
    bins: NDArray[np.int64]
    truth: Mask
    decided: Mask | None = None
    exclusive: bool = False
    several: bool = False
    judged: Sequence[str] = ()
    beside: Sequence[str] = ()


def folded(counts: Tensor, most: int) -> Tensor:
    """Return counts (..., B) with neighbours merged into at most `most` bins, each in the middle of them."""
    bins = counts.shape[-1]
    if bins <= most:
        return counts
    merged = torch.zeros_like(counts)
    for first, end in runs(bins, most):
        merged[..., (first + end - 1) // 2] = counts[..., first:end].sum(dim=-1)
    return merged


def runs(bins: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut bins into at most `most` runs: first bin of each, and the first one behind it."""
    count = min(bins, most)
    return pairwise(bins * run // count for run in range(count + 1))
