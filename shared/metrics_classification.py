"""Metrics of classification, from counts per class, binned curves and calibration bins.

Every class is judged against the rest. Of two classes only the second, the positive one, gives
`precision`, `sensitivity`, `specificity`, `f1`, `auroc` and `average_precision`; otherwise these are means
over the classes for which they are defined.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import Metric
from torchmetrics.classification import MultilabelStatScores

from shared.curves import Curves
from shared.job import JobSpec
from shared.metric_names import PER_CLASS, metric_names
from shared.metrics import LARGEST_LOSS, Mean, MetricSet, bounded, states_of

CALIBRATION_BINS = 15


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

    def bins_of(self, confidence: Tensor) -> Tensor:
        """Return the bin of each confidence in 0..1."""
        return (confidence * self.bins).long().clamp(0, self.bins - 1)

    def update(self, confidence: Tensor, correct: Tensor) -> None:
        """Add confidences (N,) in 0..1 and whether each was right (N,)."""
        index = self.bins_of(confidence)
        self.count.index_add_(0, index, torch.ones_like(index))
        self.confidence.index_add_(0, index, confidence)
        self.correct.index_add_(0, index, correct.long())

    def compute(self) -> Tensor:
        """Return the mean gap between confidence and share of right ones, weighted by the bins' counts."""
        return (self.confidence - self.correct).abs().sum() / self.count.sum()


class Histograms(Metric):
    """How many images of a class, and of the others, have a score in each bin of the class.

    Args:
        edges: Logits (K, B - 1), strictly increasing; a score on an edge is in the bin above.
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
        """Return the bins (N, K) of logits (N, K), float64."""
        return torch.searchsorted(self._edges, scores.T.contiguous(), right=True).T

    def update(self, scores: Tensor, truth: Tensor) -> None:
        """Add logits (N, K), float64, and whether each image is of each class (N, K), 0 or 1."""
        bins = self.bins_of(scores).T
        self.positives.scatter_add_(1, bins, truth.T.contiguous())
        self.negatives.scatter_add_(1, bins, 1 - truth.T.contiguous())

    def compute(self) -> Tensor:
        """Return the counts (2, K, B): of the class, and of the others."""
        return torch.stack([self.positives, self.negatives])


@dataclass(frozen=True)
class Judged:
    """Where images were counted. It is about single images, and stays at their site.

    Attributes:
        patients: Names (N,).
        truth: Whether each image is of each class (N, K).
        decided: Whether it was taken for one (N, K).
        bins: Of the scores of the judged classes (N, J).
        confidence: Bin of the confidence, (N, 1) or, with several labels, (N, K).
        right: Whether what it is confident of is right; as `confidence`.
    """

    patients: NDArray[np.str_]
    truth: NDArray[np.bool_]
    decided: NDArray[np.bool_]
    bins: NDArray[np.int64]
    confidence: NDArray[np.int64]
    right: NDArray[np.bool_]


class ClassificationMetrics(MetricSet):
    """Mergeable metrics of a classification job.

    Args:
        job: What is judged.
        edges: Of the bins of scores: logits (judged classes, bins - 1).
    """

    def __init__(self, job: JobSpec, edges: NDArray[np.float64]) -> None:
        labels = len(job.data.classes)
        self.job = job
        self.edges = edges
        self.judged = judged_classes(job)
        self._judged: list[Judged] = []
        self._curves = Histograms(edges)
        self._calibration = CalibrationBins(min(CALIBRATION_BINS, edges.shape[1] + 1))
        super().__init__(
            {
                "loss": Mean(),
                # validate_args=False: torchmetrics refuses a single label, which its arithmetic allows.
                "decisions": MultilabelStatScores(
                    labels, average=None, validate_args=False, compute_with_cache=False
                ),
                "curves": self._curves,
                "calibration": self._calibration,
            }
        )

    def update(
        self,
        logits: Tensor,
        targets: Tensor,
        losses: Tensor,
        patients: Sequence[str],
        spacing: Sequence[float] | None,
    ) -> None:
        """Add a batch: logits (B, K), targets int64 (B,) or, with several labels, float32 (B, K)."""
        logits, targets = logits.detach().cpu().double(), targets.cpu().long()
        if self.job.data.multi_label:
            scores, truth = logits, targets
            decisions = (scores > 0).long()
            confidence, correct = scores.sigmoid(), truth.bool()
        else:
            scores, truth = against_the_rest(logits), one_hot(targets, logits.shape[1])
            confidence, decided = logits.softmax(dim=1).max(dim=1, keepdim=True)
            decisions, correct = one_hot(decided[:, 0], logits.shape[1]), decided == targets[:, None]
        self.metrics["loss"].update(bounded(losses[:, None], LARGEST_LOSS))
        self.metrics["decisions"].update(decisions, truth)
        scores = scores[:, self.judged]
        self._curves.update(scores, truth[:, self.judged])
        self._calibration.update(confidence.flatten(), correct.flatten())
        self._judged.append(
            Judged(
                np.array(patients),
                truth.bool().numpy(),
                decisions.bool().numpy(),
                self._curves.bins_of(scores).numpy(),
                self._calibration.bins_of(confidence).numpy(),
                correct.numpy(),
            )
        )

    @property
    def images(self) -> Judged:
        """Where every image was counted, for what a site withholds; there must be some."""
        parts = [vars(part) for part in self._judged]
        return Judged(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def largest(self, name: str, state: str) -> float:
        """See the base class; with several labels each of them has a confidence."""
        if name == "calibration":
            return len(self.job.data.classes) if self.job.data.multi_label else 1
        return LARGEST_LOSS if (name, state) == ("loss", "total") else 1

    def fold(self, most: int) -> None:
        """See the base class; those of calibration are merged too."""
        for _, _, state in states_of({name: self.metrics[name] for name in ("curves", "calibration")}):
            state.copy_(folded(state, most))

    def curves(self) -> Curves:
        """Return the histograms of the classes that are judged."""
        counts = (state.clone().numpy() for state in (self._curves.positives, self._curves.negatives))
        return Curves(self.edges, *counts)

    def tally(self) -> NDArray[np.int64] | None:
        """See the base class; curves tell where decisions were withheld, if there is one for each class."""
        states = self.metrics["decisions"].metric_state
        tp, fp, tn, fn = (torch.as_tensor(states[name]).reshape(-1) for name in ("tp", "fp", "tn", "fn"))
        if (tp + fp + tn + fn).any():
            return torch.stack([tp + fn, tn + fp], dim=1).numpy()
        counts = torch.stack([self._curves.positives.sum(dim=1), self._curves.negatives.sum(dim=1)], dim=1)
        if not bool(counts.all()):
            return None
        if len(self.judged) == 1:
            counts = torch.stack([counts[0].flip(0), counts[0]])
        return counts.numpy()

    def report(self) -> dict[str, float]:
        """Compute every metric of the job; see `docs/metrics.md` for what is undefined when."""
        classes, multi_label = self.job.data.classes, self.job.data.multi_label
        tp, fp, tn, fn = self.metrics["decisions"].compute()[:, :4].double().unbind(dim=1)
        single = self._per_class(tp, fp, tn, fn)
        recall, specificity = single["sensitivity"], single["specificity"]
        values = {name: value[self.judged].nanmean() for name, value in single.items()}
        values["loss"] = self.metrics["loss"].compute()
        values["calibration_error"] = self.metrics["calibration"].compute()
        if multi_label:
            values["accuracy"] = (tp + tn).sum() / (tp + fp + tn + fn).sum()
            values["balanced_accuracy"] = torch.stack([recall, specificity]).nanmean(dim=0).nanmean()
        else:
            values["accuracy"] = tp.sum() / (tp + fn).sum()
            values["balanced_accuracy"] = recall.nanmean()
        for name in PER_CLASS:
            values |= {f"{name}/{label}": single[name][i] for i, label in enumerate(classes)}
        return {name: float(values[name]) for name in metric_names(self.job)}

    def _per_class(self, tp: Tensor, fp: Tensor, tn: Tensor, fn: Tensor) -> dict[str, Tensor]:
        """Return the figures of each class against the rest, each (K,), NaN where undefined."""
        positives, nan = tp + fn > 0, torch.nan
        curves = self.curves()
        return {
            # A class that occurs and is never predicted has precision 0, as in scikit-learn.
            "precision": torch.where(positives, tp / (tp + fp).clamp(min=1), nan),
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "f1": torch.where(positives, 2 * tp / (2 * tp + fp + fn), nan),
            "auroc": self._of_judged(curves.auroc()),
            "average_precision": self._of_judged(curves.average_precision()),
        }

    def _of_judged(self, values: NDArray[np.float64]) -> Tensor:
        """Return values of the judged classes as (K,), NaN for the others."""
        every = torch.full((len(self.job.data.classes),), torch.nan, dtype=torch.float64)
        every[self.judged] = torch.from_numpy(values)
        return every


def judged_classes(job: JobSpec) -> list[int]:
    """Return the classes with curves of their own: of two the second, the positive one; otherwise all."""
    classes = len(job.data.classes)
    return [1] if classes == 2 and not job.data.multi_label else list(range(classes))


def folded(counts: Tensor, most: int) -> Tensor:
    """Return counts (..., B) with neighbours merged into at most `most` bins, each in the middle of them."""
    bins = counts.shape[-1]
    if bins <= most:
        return counts
    bounds = [bins * run // most for run in range(most + 1)]
    merged = torch.zeros_like(counts)
    for first, end in pairwise(bounds):
        merged[..., (first + end - 1) // 2] = counts[..., first:end].sum(dim=-1)
    return merged


def against_the_rest(logits: Tensor) -> Tensor:
    """Return the logit of each class's softmax probability (N, K): its odds against all others together.

    It orders images as the probability does, also where that rounds to 0 or 1.
    """
    others = torch.stack(
        [
            torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1).logsumexp(dim=1)
            for k in range(logits.shape[1])
        ],
        dim=1,
    )
    return logits - others
