"""What may leave a site beside the model: decided here, and nowhere else.

Differential privacy covers the model that private training returns. A loss, a count or a score is computed
from the patients too, without noise: under a private job none of them leaves unless the policy says that it
is public.
"""

import math
from dataclasses import dataclass
from typing import Self

from client.policy import PolicyTable
from shared.job import JobSpec
from shared.messages import Description


@dataclass(frozen=True)
class Release:
    """What a policy lets leave for one job.

    Attributes:
        counts: How many patients and images there are.
        scores: Metric states on validation and test patients.
        summed_scores: The same, in a masked sum with those of other sites.
        loss: The training loss.
        min_group: Patients without whom a split counts as empty.
        min_patients: What the job asks a site to have.
    """

    counts: bool
    scores: bool
    summed_scores: bool
    loss: bool
    min_group: int
    min_patients: int

    @classmethod
    def of(cls, policy: PolicyTable, job: JobSpec) -> Self:
        """Return what the policy lets leave for the job."""
        private = job.privacy.mechanism == "dp-sgd"
        return cls(
            counts=not private or policy.share_private_counts,
            scores=policy.share_site_metrics and (not private or policy.share_private_metrics),
            summed_scores=not private or policy.share_private_metrics,
            loss=policy.share_site_metrics and not private,
            min_group=policy.min_group,
            min_patients=job.strategy.min_patients,
        )

    def has_group(self, patients: int) -> bool:
        """Say if enough patients are behind a figure."""
        return patients >= self.min_group

    def description(self, site: str, patients: dict[str, int], examples: dict[str, int]) -> Description:
        """Return what the site says of its data.

        Where counts stay, it says only whether it has the patients that the job asks for: that many, or none.
        """
        if not self.counts:
            enough = self.has_group(patients["train"]) and patients["train"] >= self.min_patients
            return Description(site, {"train": self.min_patients * enough}, {"train": int(enough)})
        shown = [split for split, count in patients.items() if self.has_group(count)]
        return Description(
            site,
            {split: patients[split] for split in shown},
            {split: examples[split] for split in shown},
        )

    def class_counts(self, counts: list[int]) -> list[int]:
        """Return the numbers of training images (or voxels) of each class; 0 for a class of too few."""
        return [count if self.has_group(count) else 0 for count in counts]

    def examples(self, count: int) -> int:
        """Return the number of examples that goes with an update; 1 where counts stay."""
        return count if self.counts else 1

    def training_loss(self, loss: float) -> float:
        """Return the training loss, or NaN where it stays."""
        return loss if self.loss else math.nan
