"""Metrics of segmentation, from voxel counts per structure and means over images and patients.

Conventions for images without foreground, and their reasons, are in `docs/metrics.md`.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from torch import Tensor
from torchmetrics import Metric

from shared.batch import Batch, Prediction
from shared.metrics.cells import Cells
from shared.metrics.figures import Figure, Point
from shared.metrics.replicates import Rivals, Tables, joined
from shared.metrics.states import LARGEST_LOSS, Mean, MetricSet, Totals, bounded
from shared.tasks.classes import classified_by
from shared.tasks.fields import UNKNOWN_PIXEL
from shared.tasks.segmentation.options import Segmentation
from shared.tasks.segmentation.raters import FIRST, counted_pairs, pairs_of, without_unknown
from shared.tasks.segmentation.voxel_scores import BINS, score_counts, voxel_figures
from shared.tasks.unlabelled.agreement import are_known

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

VOXELS = "voxels"
"""Table of what was found, added and missed of each patient (P, 3, structures)."""

RATERS, PAIRS = "raters", "rater_pairs"
"""Metrics with the voxels of all structures: found, added and missed, by each rater and by pairs of them."""

SCORES = "scores"
"""Metric with the voxels in each bin of their scores."""

DISTANCES = ("hd95", "hd95_undefined", "surface_dice")
LARGEST_DISTANCE = 2.0**12  # mm or voxels between two surfaces of one image: what is above counts as this
_LARGEST_IMAGE = 2**31  # voxels, where the job does not fix the size


class SegmentationMetrics(MetricSet):
    """Mergeable metrics of a segmentation job.

    A patient's images may come in several batches, so their voxels are kept by patient, at the site, until
    the states are packed; a patient counts at one site only.
    """

    def __init__(self, job: "JobSpec", options: Segmentation) -> None:
        structures = len(options.classes)
        self.options, self._target = options, classified_by(job)[0]
        self.patients: dict[str, Tensor] = {}  # voxels (3, structures): found, added, missed
        self.rated: dict[str, dict[str, Tensor]] = {}  # RATERS and PAIRS: voxels (3, columns) by patient
        self._is_settled = False
        self.distances: dict[
            str, Tensor
        ] = {}  # images (2, structures) with a distance, and with only one surface
        means = ("dice_image", "dice_patient", *(DISTANCES if options.distances else ()))
        super().__init__(
            job,
            {
                "loss": Mean(),
                "overlap": Totals(3, structures),
                **{name: Mean(structures) for name in means},
                **({SCORES: Totals(2, BINS, structures, are_bins=True)} if options.voxel_metrics else {}),
                **self._of_raters(len(options.masks)),
            },
        )

    @staticmethod
    def _of_raters(raters: int) -> dict[str, Metric]:
        """Return voxels that were found, added and missed, by each rater, and by pairs of them."""
        if not raters:
            return {}
        return {RATERS: Totals(3, raters), PAIRS: Totals(3, len(pairs_of(raters)))}

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch: logits (B, 1 + structures, *S), masks (B, *S) with 0 for the background.

        Only counts leave the device, and the masks where distances are wanted. Those are in millimetres, in
        voxels where the spacing is unknown.
        """
        logits, targets = predicted["logits"].detach(), batch[self._target]
        found = logits.max(dim=1).indices  # argmax is five times as slow on a CPU
        voxels = count_voxels(found, targets, logits.shape[1])
        self.add("loss", batch.patients, bounded(losses[:, None], LARGEST_LOSS))
        self.add_up("overlap", batch.patients, voxels)
        self.add("dice_image", batch.patients, dice(voxels).nan_to_num(nan=1.0))
        if self.options.voxel_metrics:
            self.add_up(SCORES, batch.patients, score_counts(logits, targets, batch))
        for patient, counts in zip(batch.patients, voxels, strict=True):
            self.patients[patient] = self.patients.get(patient, torch.zeros_like(counts)) + counts
        if self.options.masks:
            self._update_raters(found, batch, logits.shape[1])
        if self.options.distances:
            self._update_distances(found.cpu(), targets.cpu(), voxels, batch.patients, batch.spacing)

    def largest(self, name: str, state: str) -> float:
        """See the base class; a size that the job does not fix is at most 2^31 voxels."""
        if name in ("overlap", SCORES, RATERS, PAIRS):
            size = self.job.data.size
            return math.prod(size) if size is not None else _LARGEST_IMAGE
        return {"loss": LARGEST_LOSS, "hd95": LARGEST_DISTANCE}.get(name, 1.0) if state == "total" else 1.0

    def cells(self) -> Iterator[Cells]:
        """Yield those of each structure: patients with voxels of it that were found, added and missed."""
        voxels = torch.stack(list(self.patients.values())).numpy() > 0  # (P, 3, structures)
        of_structures = [
            "overlap",
            "dice_image",
            "dice_patient",
            *(DISTANCES if self.options.distances else ()),
            *([SCORES] if self.options.voxel_metrics else ()),
        ]
        for structure, patients in enumerate(voxels.sum(axis=0).T.tolist()):
            yield Cells(patients, of_structures, structure)
        for metric, of_patients in self.rated.items():
            columns = (torch.stack(list(of_patients.values())).numpy() > 0).sum(axis=0).T.tolist()
            for column, patients in enumerate(columns):
                yield Cells(patients, [metric], column)
        if self.distances:
            kinds = torch.stack(list(self.distances.values())).numpy() > 0
            for structure, patients in enumerate(kinds.sum(axis=0).T.tolist()):
                yield Cells(patients, DISTANCES, structure)

    def settled(self) -> Mapping[str, Metric]:
        """Return the metrics with the Dice of each patient seen so far."""
        if self._is_settled or not self.patients:
            return self.metrics
        by_patient = self.metrics["dice_patient"].clone()
        by_patient.update(dice(torch.stack(list(self.patients.values()))).nan_to_num(nan=1.0))
        return {**self.metrics, "dice_patient": by_patient}

    def settle(self) -> None:
        """Count each patient seen so far; none may have images still to come."""
        if self.patients:
            voxels = torch.stack(list(self.patients.values()))
            self.add("dice_patient", list(self.patients), dice(voxels).nan_to_num(nan=1.0))
        self._is_settled = True

    def patient_tables(self) -> Tables:
        """See the base class; and the `voxels` of each patient (P, 3, structures)."""
        voxels = torch.stack([self.patients[name] for name in sorted(self.patients)])
        return {**super().patient_tables(), VOXELS: voxels}

    def figures(self) -> Iterator[Figure]:
        """See the base class: the overlap of several structures."""
        values, names = self.report(), self.options.classes
        points: list[Point] = [
            (name, label, round(values[f"{metric}/{label}"], 4))
            for label in names
            for metric, name in (("dice_global", "Dice"), ("iou", "intersection over union"))
            if not math.isnan(values[f"{metric}/{label}"])
        ]
        if len(names) > 1 and points:
            yield Figure(
                "structures",
                "Overlap of each structure",
                ("figure", "structure", "over all voxels"),
                points,
                "matrix",
                says="Dice and intersection over union of each structure, over the voxels of all images.",
            )

    def patient_figures(self, sites: Mapping[str, Tables]) -> Iterator[Figure]:
        """See the base class: how the Dice of the patients is spread."""
        for structure, label in enumerate(self.options.classes):
            points: list[Point] = [
                (site, "patient", round(value, 4))
                for site, tables in sites.items()
                for value in dice(tables[VOXELS])[:, structure].nan_to_num(nan=1.0).tolist()
            ]
            yield Figure(
                f"dice-{structure + 1}",
                f"Dice of the patients: {label}",
                ("site", "of", "Dice"),
                points,
                "dots",
                says=f"The Dice of {label} of each test patient, by hospital; a bar at the median.",
                unit=True,
            )

    def rivals(self, sites: Mapping[str, Tables]) -> Rivals:
        """See the base class: what an answer without any foreground reaches."""
        voxels = joined(list(sites.values()), VOXELS)
        empty = voxels[:, 0] + voxels[:, 2] == 0
        return Rivals({"constant": {"dice_global": 0.0, "dice_patient": float(empty.mean())}})

    def report(self) -> dict[str, float]:
        """Compute every metric of the job: means over the structures, then the single structures."""
        metrics = self.settled()
        counts = ("loss", "overlap", SCORES, RATERS, PAIRS)
        means = {name: metric for name, metric in metrics.items() if name not in counts}
        # torchmetrics returns a scalar for one structure.
        single = {name: metric.compute().reshape(-1) for name, metric in means.items()}
        tp, fp, fn = metrics["overlap"].compute().double()
        if self.options.voxel_metrics:
            single |= voxel_figures(metrics[SCORES].compute(), metrics["overlap"].compute())
        single["dice_global"] = 2 * tp / (2 * tp + fp + fn)
        single["iou"] = tp / (tp + fp + fn)
        values = {name: float(value.nanmean()) for name, value in single.items()}
        values["loss"] = float(metrics["loss"].compute())
        if self.options.masks:
            values |= self._agreements(metrics)
        for name, value in single.items():
            values |= {f"{name}/{label}": float(value[i]) for i, label in enumerate(self.options.classes)}
        return values

    def _agreements(self, metrics: Mapping[str, Metric]) -> dict[str, float]:
        """Return the Dice over all voxels by each rater, and the mean of that between two of them."""
        by_rater, between = (dice(metrics[name].compute()[None])[0] for name in (RATERS, PAIRS))
        each = {f"dice_rater/{name}": float(by_rater[n]) for n, name in enumerate(self.options.masks)}
        means = {"dice_rater": float(by_rater.nanmean()), "dice_between_raters": float(between.nanmean())}
        return {**means, **each}

    def _update_raters(self, found: Tensor, batch: Batch, classes: int) -> None:
        first = batch[FIRST] if FIRST in batch else batch[self._target]
        unseen = torch.full_like(first, UNKNOWN_PIXEL)
        masks = [first, *(batch.values.get(name, unseen) for name in self.options.raters[1:])]
        compared = [(found, mask, are_known(mask)) for mask in masks]
        for metric, pairs in ((RATERS, compared), (PAIRS, list(counted_pairs(masks)))):
            columns = [
                count_voxels(without_unknown(one), without_unknown(other), classes).sum(dim=2)
                * known.cpu()[:, None]
                for one, other, known in pairs
            ]
            counts = torch.stack(columns, dim=2)  # (B, 3, columns), over all structures
            self.add_up(metric, batch.patients, counts)
            of_patients = self.rated.setdefault(metric, {})
            for patient, own in zip(batch.patients, counts, strict=True):
                of_patients[patient] = of_patients.get(patient, torch.zeros_like(own)) + own

    def _update_distances(
        self,
        predicted: Tensor,
        targets: Tensor,
        voxels: Tensor,
        patients: Sequence[str],
        spacing: Sequence[float] | None,
    ) -> None:
        tp, fp, fn = voxels.unbind(dim=1)
        found, present = tp + fp > 0, tp + fn > 0
        both, either = found & present, found | present
        hd95 = torch.zeros(both.shape, dtype=torch.float64)
        surface_dice = torch.zeros_like(hd95)
        tolerance = self.options.surface_tolerance
        for image, structure in both.nonzero().tolist():
            found_mask, true_mask = (
                part[image][None, None] == structure + 1 for part in (predicted, targets)
            )
            distances = surface_distances(found_mask, true_mask, spacing, tolerance)
            hd95[image, structure], surface_dice[image, structure] = distances
        self.add("hd95", patients, hd95.clamp(max=LARGEST_DISTANCE), both)
        self.add("hd95_undefined", patients, (either & ~both).double(), either)
        self.add("surface_dice", patients, surface_dice, either)
        for patient, kinds in zip(patients, torch.stack([both, either & ~both], dim=1).long(), strict=True):
            self.distances[patient] = self.distances.get(patient, torch.zeros_like(kinds)) + kinds


def count_voxels(predicted: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Count the voxels of each structure and image that were found, wrongly added and missed.

    One histogram over (image, truth, prediction); torchmetrics' counts per sample take twenty times as long.

    Args:
        predicted: Class indices (B, *S).
        targets: Class indices (B, *S).
        classes: Number of classes, the background included.

    Returns:
        int64 (B, 3, classes - 1) on the CPU: true positives, false positives, false negatives.
    """
    batch = predicted.shape[0]
    image = torch.arange(batch, device=predicted.device).reshape(-1, *[1] * (predicted.ndim - 1))
    index = (image * classes + targets) * classes + predicted
    confusion = torch.bincount(index.flatten(), minlength=batch * classes * classes)
    confusion = confusion.reshape(batch, classes, classes).cpu()
    tp = confusion.diagonal(dim1=1, dim2=2)
    return torch.stack([tp, confusion.sum(dim=1) - tp, confusion.sum(dim=2) - tp], dim=1)[:, :, 1:]


def dice(voxels: Tensor) -> Tensor:
    """Return the Dice (N, structures) of counts (N, 3, structures); NaN where there is no foreground."""
    tp, fp, fn = voxels.double().unbind(dim=1)
    return 2 * tp / (2 * tp + fp + fn)


def surface_distances(
    predicted: Tensor, target: Tensor, spacing: Sequence[float] | None, tolerance: float
) -> tuple[float, float]:
    """Compare the surfaces of two masks, neither of them empty.

    Args:
        predicted: bool (1, 1, *S)
        target: bool (1, 1, *S)
        spacing: Millimetres along each axis of S; None for 1.
        tolerance: Distance within which surfaces agree, in the unit of the spacing.

    Returns:
        The 95th-percentile Hausdorff distance, the larger of the two directions, and the surface Dice
        (Nikolov et al., J Med Internet Res 2021).
    """
    options = {"include_background": True, "spacing": spacing}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.6 warns of its own use of an old option
        hd95 = compute_hausdorff_distance(predicted, target, percentile=95, **options)
        agreement = compute_surface_dice(predicted, target, class_thresholds=[tolerance], **options)
    return float(hd95), float(agreement)
