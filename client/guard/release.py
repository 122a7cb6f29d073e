"""What may leave a site beside the model: decided here, and nowhere else.

No exact count leaves: a count of fewer than `min_group` patients is told as none, any other is rounded.
Differential privacy covers the model that private training returns. A loss, a count or a score is computed
from the patients too, without noise: under a private job none of them leaves unless the policy says that it
is public, and the site says no more than whether it takes part.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from client.guard.bounds import Bounds
from client.settings.policy import PolicyTable, rounded
from shared.job.schema import JobSpec
from shared.metrics.patient_values import PatientValues
from shared.metrics.visibility import KEPT

if TYPE_CHECKING:  # the hospital's page asks for the rules alone
    from client.data.samples.site_data import SiteData
    from shared.wire.messages import Description

_DIGITS = 2  # of a count of voxels that leave: one patient of ten is less than the third


@dataclass(frozen=True)
class Release:
    """What a policy lets leave for one job.

    Attributes:
        counts: How many patients and images there are, rounded.
        scores: Metric states on validation and test patients.
        summed_scores: The same, in a masked sum with those of other sites.
        loss: The training loss, which is exact; under secure aggregation it leaves in the sum alone.
        min_group: Patients without whom a split counts as empty.
        step: Counts leave as multiples of it.
    """

    counts: bool
    scores: bool
    summed_scores: bool
    loss: bool
    min_group: int
    step: int

    @classmethod
    def of(cls, policy: PolicyTable, job: JobSpec) -> Self:
        """Return what the policy lets leave for the job."""
        private = job.privacy.mechanism == "dp-sgd"
        return cls(
            counts=not private or policy.share_private_counts,
            scores=policy.share_site_metrics and (not private or policy.share_private_metrics),
            summed_scores=not private or policy.share_private_metrics,
            # Training goes step by step: one patient moves the losses of all who come after, so no range of
            # other patients bounds what the mean tells of them.
            loss=(policy.share_site_metrics or job.privacy.secure_aggregation)
            and not private
            and policy.min_group == 1,
            min_group=policy.min_group,
            step=policy.round_counts_to,
        )

    def has_group(self, patients: int) -> bool:
        """Say if enough patients are behind a figure."""
        return patients >= self.min_group

    def count(self, number: int) -> int:
        """Return a count as anybody else may know it; of a group that is large enough."""
        return rounded(number, self.step)

    def description(self, site: str, patients: dict[str, int], examples: dict[str, int]) -> "Description":
        """Return what the site says of its data.

        Where counts stay, it says only in what it takes part: `KEPT` patients and images, or none.
        """
        from shared.wire.messages import Description  # noqa: PLC0415  (with Flower)

        if not self.counts:
            kept = dict.fromkeys(self._sides(patients), KEPT)
            return Description(site, kept, dict(kept))
        shown = [split for split, count in patients.items() if self.has_group(count)]
        return Description(
            site,
            {split: self.count(patients[split]) for split in shown},
            {split: self.count(examples[split]) for split in shown},
        )

    def _sides(self, patients: dict[str, int]) -> list[str]:
        """Return the sides on which a site says that it takes part, where it keeps its counts."""
        if self.has_group(patients["train"]):
            return ["train"]
        judges = [split for split in ("val", "test") if self.has_group(patients.get(split, 0))]
        return judges if self.summed_scores else []

    def class_counts(self, data: "SiteData", bounds: Bounds) -> tuple[int, ...]:
        """Return about how many training images, or voxels, each class has; images are read for voxels alone.

        A class that fewer than `min_group` patients have counts as none. A patient may have more of a class
        than all others together, so each counts within a range of theirs, and the sum has noise. Counts of
        voxels are then rounded to two digits: they have no step of their own.

        Args:
            data: The site's.
            bounds: Of figures of the data alone; with `min_group = 1` sums are exact but for the rounding.
        """
        values, told = data.class_values(), _two_digits if data.counts_voxels else self.count
        image = float((values.sums.sum(axis=1) / values.images).max(initial=1)) if data.counts_voxels else 1.0
        counts = [self._bounded(values, at, image, bounds) for at in range(values.sums.shape[1])]
        return tuple(told(count) if count else 0 for count in counts)

    def _bounded(self, values: PatientValues, column: int, image: float, bounds: Bounds) -> int:
        """Return the bounded sum of one column of counts, with the same noise whatever is beside it.

        Args:
            values: Counts of each patient.
            column: Of them.
            image: Most that an image can have.
            bounds: Of the sum.
        """
        own = values.sums[:, column : column + 1]
        have = int(np.count_nonzero(own))
        if have < self.min_group:
            return 0
        if bounds.least <= 1:
            return int(own.sum())
        each = replace(values, sums=own, counts=(own > 0).astype(np.int64))  # of a patient, not of an image
        largest = (
            self.count(int(values.images.sum())) * image / have
        )  # no more than all images that it tells of
        return max(round(bounds.column("class", each, 0, largest)), have)  # who has a class has one of it

    def units(self, data: "SiteData", job: JobSpec) -> int:
        """Return the number of units (patients, or images) by which private training is planned."""
        counts = data.patients if job.privacy.unit == "patient" else data.examples
        return self.count(counts["train"]) if counts["train"] else 0

    def examples(self, count: int) -> int:
        """Return the number of examples that goes with an answer; `KEPT` where counts stay."""
        return self.count(count) if self.counts else KEPT

    def training_loss(self, loss: float) -> float:
        """Return the training loss, or NaN where it stays."""
        return loss if self.loss else math.nan


def told_seconds(seconds: float) -> float:
    """Return a duration as it leaves, to two digits: it grows with the number of images."""
    return float(f"{seconds:.1e}")


def _two_digits(count: int) -> int:
    return int(float(f"{count:.{_DIGITS - 1}e}"))
