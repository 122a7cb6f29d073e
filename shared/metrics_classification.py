"""Metrics of classification, from counts per class, binned curves and calibration bins.

Every class is judged against the rest. Of two classes only the second, the positive one, gives
`precision`, `sensitivity`, `specificity`, `f1`, `auroc` and `average_precision`; otherwise these are means
over the classes for which they are defined.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import Metric
from torchmetrics.classification import MultilabelAUROC, MultilabelAveragePrecision, MultilabelStatScores

from shared.job import JobSpec
from shared.metric_names import PER_CLASS, metric_names
from shared.metrics import Mean, MetricSet

CALIBRATION_BINS = 15
LOGIT_RANGE = 10.0


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

    def compute(self) -> Tensor:
        """Return the mean gap between confidence and share of right ones, weighted by the bins' counts."""
        return (self.confidence - self.correct).abs().sum() / self.count.sum()


class ClassificationMetrics(MetricSet):
    """Mergeable metrics of a classification job."""

    def __init__(self, job: JobSpec) -> None:
        labels = len(job.data.classes)
        self.job = job
        self.thresholds = curve_thresholds(job.evaluation.bins)
        super().__init__(
            {
                "loss": Mean(),
                # validate_args=False: torchmetrics refuses a single label, which its arithmetic allows.
                "decisions": MultilabelStatScores(
                    labels, average=None, validate_args=False, compute_with_cache=False
                ),
                "curves": MultilabelAUROC(
                    labels,
                    average=None,
                    thresholds=self.thresholds,
                    validate_args=False,
                    compute_with_cache=False,
                ),
                "calibration": CalibrationBins(),
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
            scores, truth = logits.sigmoid(), targets
            decisions = (scores > 0.5).long()
            confidence, correct = scores.flatten(), truth.flatten()
        else:
            scores, truth = logits.softmax(dim=1), one_hot(targets, logits.shape[1])
            confidence, decided = scores.max(dim=1)
            decisions, correct = one_hot(decided, logits.shape[1]), decided == targets
        self.metrics["loss"].update(losses[:, None])
        self.metrics["decisions"].update(decisions, truth)
        # Below 1, so that the curve starts at (0, 0) even where a network is certain of a wrong answer.
        self.metrics["curves"].update(scores.clamp(max=1 - 1e-12), truth)
        self.metrics["calibration"].update(confidence, correct)

    def report(self) -> dict[str, float]:
        """Compute every metric of the job; see `docs/metrics.md` for what is undefined when."""
        classes, multi_label = self.job.data.classes, self.job.data.multi_label
        tp, fp, tn, fn = self.metrics["decisions"].compute()[:, :4].double().unbind(dim=1)
        single = self._per_class(tp, fp, tn, fn)
        recall, specificity = single["sensitivity"], single["specificity"]
        positive = slice(1, 2) if len(classes) == 2 and not multi_label else slice(None)
        values = {name: value[positive].nanmean() for name, value in single.items()}
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
        positives, negatives, nan = tp + fn > 0, tn + fp > 0, torch.nan
        curves = self.metrics["curves"]
        average_precision = MultilabelAveragePrecision(
            len(tp), average=None, thresholds=self.thresholds, validate_args=False
        )
        average_precision.merge_state(curves.metric_state)
        return {
            # A class that occurs and is never predicted has precision 0, as in scikit-learn.
            "precision": torch.where(positives, tp / (tp + fp).clamp(min=1), nan),
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "f1": torch.where(positives, 2 * tp / (2 * tp + fp + fn), nan),
            "auroc": torch.where(positives & negatives, curves.compute().double(), nan),
            "average_precision": torch.where(positives, average_precision.compute().double(), nan),
        }


def curve_thresholds(bins: int) -> Tensor:
    """Return the thresholds (bins,) of the binned curves: 0, 1, and between them evenly spaced logits.

    Evenly spaced probabilities would throw together the many scores near 0 and 1, which is where those of a
    rare class and those of a confident network lie. The curves depend on the order of scores alone.
    """
    inner = torch.linspace(-LOGIT_RANGE, LOGIT_RANGE, bins - 2, dtype=torch.float64).sigmoid()
    return torch.cat([torch.zeros(1, dtype=torch.float64), inner, torch.ones(1, dtype=torch.float64)])
