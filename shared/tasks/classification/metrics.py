"""Metrics of classification, from counts per class, binned curves and calibration bins.

Every class is judged against the rest. Of two classes only the second, the positive one, gives
`precision`, `sensitivity`, `specificity`, `f1`, `auroc` and `average_precision`; otherwise these are means
over the classes for which they are defined.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import Metric
from torchmetrics.classification import MultilabelStatScores

from shared.batch import Batch, Prediction
from shared.metrics.cells import Cells
from shared.metrics.curves import Curves
from shared.metrics.figures import Figure
from shared.metrics.histograms import CALIBRATION_BINS, CalibrationBins, Histograms, Scores
from shared.metrics.replicates import PATIENT, Draws, Figures, Rivals, Tables, joined
from shared.metrics.states import LARGEST_LOSS, Mean, MetricSet, Recount, bounded
from shared.tasks.classes import against_the_rest, classified_by
from shared.tasks.classification.figures import (
    calibration_figures,
    confusion_of_patients,
    curve_figures,
    curves_of_patients,
    decision_figures,
)
from shared.tasks.classification.resampled import (
    BINS,
    DECIDED,
    TRUTH,
    auroc_influences,
    resampled,
    rivals,
)

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


@dataclass(frozen=True)
class Judged:
    """Where images were counted. It is about single images, and stays at their site.

    Attributes:
        patients: Names (N,).
        truth: Whether each image is of each class (N, K).
        decided: Whether it was taken for one (N, K).
        bins: Of the scores of the judged classes (N, J).
    """

    patients: NDArray[np.str_]
    truth: NDArray[np.bool_]
    decided: NDArray[np.bool_]
    bins: NDArray[np.int64]


class ClassificationMetrics(MetricSet):
    """Mergeable metrics of a classification job.

    Args:
        job: What is judged.
        edges: Of the bins of scores: logits (judged classes, bins - 1).
        further: Metrics of a task that predicts more than classes.
    """

    def __init__(
        self, job: "JobSpec", edges: NDArray[np.float64], further: Mapping[str, Metric] | None = None
    ) -> None:
        self.target, self.label = classified_by(job)
        labels = len(self.label.classes)
        self.edges = edges
        self.judged = self.label.judged
        self._judged: list[Judged] = []
        self._curves = Histograms(edges)
        self.calibration = CalibrationBins(min(CALIBRATION_BINS, edges.shape[1] + 1))
        super().__init__(
            job,
            {
                "loss": Mean(),
                # validate_args=False: torchmetrics refuses a single label, which its arithmetic allows.
                "decisions": MultilabelStatScores(
                    labels, average=None, validate_args=False, compute_with_cache=False
                ),
                "curves": self._curves,
                "calibration": self.calibration,
                **(further or {}),
            },
        )

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch: logits (B, K), classes int64 (B,) or, with several of them, float32 (B, K)."""
        logits, targets = predicted["logits"].detach().cpu().double(), batch[self.target].cpu().long()
        if self.label.several:
            scores, truth = logits, targets
            decisions = (scores > 0).long()
            confidence, correct = scores.sigmoid(), truth.bool()
        else:
            scores, truth = against_the_rest(logits), one_hot(targets, logits.shape[1])
            confidence, decided = logits.softmax(dim=1).max(dim=1, keepdim=True)
            decisions, correct = one_hot(decided[:, 0], logits.shape[1]), decided == targets[:, None]
        self.add("loss", batch.patients, bounded(losses[:, None], LARGEST_LOSS))
        self.metrics["decisions"].update(decisions, truth)
        scores = scores[:, self.judged]
        self._curves.update(scores, truth[:, self.judged])
        self.calibration.update(confidence.flatten(), correct.flatten())
        self._judged.append(
            Judged(
                np.array(batch.patients),
                truth.bool().numpy(),
                decisions.bool().numpy(),
                self._curves.bins_of(scores).numpy(),
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
            return len(self.label.classes) if self.label.several else 1
        return LARGEST_LOSS if (name, state) == ("loss", "total") else 1

    def cells(self) -> Iterator[Cells]:
        """Yield those of all classes together: accuracy over some of them would be a wrong figure."""
        images = self.images
        _, codes = np.unique(images.patients, return_inverse=True)
        taken = images.decided, ~images.decided
        cells = [truth & decided for truth in (images.truth, ~images.truth) for decided in taken]
        patients = [len(np.unique(codes[cell[:, k]])) for cell in cells for k in range(cell.shape[1])]
        yield Cells(patients, ["decisions"])

    def recount(self, count: Recount) -> None:
        """See the base class: how many of a class, and of the others, were judged rightly."""
        images, states = self.images, self.metrics["decisions"].metric_state
        classes = images.truth.shape[1] if torch.as_tensor(states["tp"]).any() else 0
        for k in range(classes):
            truth, right = images.truth[:, k], images.truth[:, k] == images.decided[:, k]
            for kind, names in ((truth, ("fn", "tp")), (~truth, ("fp", "tn"))):
                told = count(images.patients[kind], right[kind], len(names), len(self.judged))
                for name, number in zip(names, told.tolist(), strict=True):
                    torch.as_tensor(states[name])[k] = number

    def scores(self) -> Mapping[str, Scores]:
        """See the base class."""
        images = self.images
        truth, decided = images.truth[:, self.judged], images.decided[:, self.judged]
        exclusive = not self.label.several
        return {"curves": Scores(images.patients, images.bins, truth, decided, exclusive)}

    def curves(self) -> Curves:
        """Return the histograms of the classes that are judged."""
        counts = (state.clone().numpy() for state in (self._curves.positives, self._curves.negatives))
        return Curves(self.edges, *counts)

    def patient_tables(self) -> Tables:
        """See the base class: where each image was counted, and its further metrics."""
        images = self.images
        tables = {TRUTH: images.truth, DECIDED: images.decided, BINS: images.bins}
        numbers = np.unique(images.patients, return_inverse=True)[1]
        found = {name: torch.from_numpy(table) for name, table in ({PATIENT: numbers} | tables).items()}
        return {**found, **self.further_tables()}

    def resampled(self, sites: Sequence[Tables], draws: Draws) -> Figures:
        """See the base class."""
        table = {name: joined(sites, name) for name in (TRUTH, DECIDED, BINS)}
        own = resampled(table, joined(sites, PATIENT), draws, self.label)
        return {**own, **self.further_resampled(sites, draws)}

    def influences(self, sites: Sequence[Tables]) -> Mapping[str, NDArray[np.float64]]:
        """See the base class: of the AUROC, by the scores themselves."""
        table = {name: joined(sites, name) for name in (PATIENT, TRUTH, BINS)}
        return {"auroc": auroc_influences(table, self.label)}

    def rivals(self, sites: Mapping[str, Tables]) -> Rivals:
        """See the base class."""
        return rivals(sites, self.label)

    def figures(self) -> Iterator[Figure]:
        """See the base class."""
        yield from curve_figures(self.curves(), self.label)
        yield from calibration_figures(self.calibration)
        yield from decision_figures(self.metrics["decisions"].compute(), self.label)

    def patient_figures(self, sites: Mapping[str, Tables]) -> Iterator[Figure]:
        """See the base class."""
        yield from curve_figures(curves_of_patients(list(sites.values()), self.edges, self.label), self.label)
        yield from confusion_of_patients(sites, self.label)

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
        classes, multi_label = self.label.classes, self.label.several
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
        for name, value in single.items():
            values |= {f"{name}/{label}": value[i] for i, label in enumerate(classes)}
        return {name: float(value) for name, value in values.items()}

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
        every = torch.full((len(self.label.classes),), torch.nan, dtype=torch.float64)
        every[self.judged] = torch.from_numpy(values)
        return every
