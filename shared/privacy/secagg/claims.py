"""What each site says of itself in a round of secure aggregation, under its signature.

A sum shows nothing of its parts, so what each part counts for is agreed before it is computed: every site
sees what every other one claims, and the coordinator that the sum has the weight that was claimed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from shared.metrics.curves import bins_for, surely_behind
from shared.privacy.secagg.errors import FewerBehindError, SecureAggregationError, TooFewJudgesError
from shared.privacy.secagg.limits import LARGEST_WEIGHT, LEAST_SITES
from shared.privacy.secagg.wire import fixed, pack, unpack
from shared.strategies.largest_share import bounded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

MOST_PATIENTS = 2**31 - 1
_NUMBER = 8  # bytes


@dataclass(frozen=True)
class Claims:
    """What a site says of its part in a sum; every number is rounded as its policy rounds what leaves.

    Attributes:
        weight: In training how much its update counts; otherwise the images behind its figures.
        patients: Patients behind its part; 0 where it adds nothing to an evaluation, or says no number.
    """

    weight: int
    patients: int

    _KIND = b"wardround secagg v3: claims"

    def to_bytes(self) -> bytes:
        """Return the claims as bytes."""
        numbers = (self.weight, self.patients)
        return pack(self._KIND, *(number.to_bytes(_NUMBER, "big") for number in numbers))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse claims.

        Raises:
            SecureAggregationError: They are no such message, or a number is beyond what a site can have.
        """
        fields = unpack(data, cls._KIND)
        if len(fields) != 2:
            raise SecureAggregationError("a site's claims have the wrong number of fields")
        weight, patients = (int.from_bytes(fixed(field, _NUMBER), "big") for field in fields)
        if weight > LARGEST_WEIGHT or patients > MOST_PATIENTS:
            raise SecureAggregationError("a site claims more than a site can have")
        return cls(weight, patients)


def check_claims(site: str, claims: Claims, job: "JobSpec", *, training: bool) -> None:
    """Check that what a site claims is possible in the job.

    Raises:
        SecureAggregationError: It is not.
    """
    if not training:
        return
    if job.strategy.weight == "equal" and claims.weight != 1:
        raise SecureAggregationError(f"{site} claims a weight of {claims.weight}, and all must weigh alike")
    if claims.weight < 1:
        raise SecureAggregationError(f"{site} claims no weight, and takes part")


def agreed_weights(claims: Mapping[str, Claims], largest: float) -> dict[str, int]:
    """Return how much each site of a roster counts: what it claims, cut down to the largest share of all.

    Args:
        claims: By site, of all who sent keys: every one of them finds the same.
        largest: Share of the weights that one site may have.
    """
    return bounded({site: claim.weight for site, claim in claims.items()}, largest)


def check_shares(weights: Collection[int], largest: float) -> None:
    """Check that no site's update is most of the sum: the sum would hardly hide it, or be its own.

    Args:
        weights: Agreed, of the sites that are left in the sum.
        largest: Share of the sum that one site may have; an equal share is always allowed.

    Raises:
        SecureAggregationError: So many dropped out that one has more.
    """
    total, most = sum(weights), max(weights)
    if most > max(largest, 1 / len(weights)) * total:
        raise SecureAggregationError(
            f"one site would have {most / total:.0%} of the sum, more than [strategy] largest_share = "
            f"{largest:g}",
            remedy="Set [strategy] weight = 'equal' in the job.",
        )


def check_evaluated(claims: Collection[Claims]) -> None:
    """Check that enough sites are behind the figures of a sum for it to hide each of them.

    Raises:
        TooFewJudgesError: They are not.
    """
    judging = sum(claim.patients > 0 for claim in claims)
    if judging < LEAST_SITES:
        raise TooFewJudgesError(
            f"{judging} sites have patients for the metrics, {LEAST_SITES} must, so that each is hidden"
        )


def check_bins(most: int, roster: Collection[Claims], left: Collection[Claims]) -> None:
    """Check that the sites left in a sum have patients enough for the bins of scores that all had folded to.

    Args:
        most: Bins that the job asks for; 1 where its task bins no scores.
        roster: What every site claims that began.
        left: Those whose states are in the sum.

    Raises:
        FewerBehindError: So many dropped out that there would be more than one bin for ten patients.
    """
    folded, allowed = (bins_for(most, surely_behind(one.patients for one in some)) for some in (roster, left))
    if allowed < folded:
        raise FewerBehindError(
            f"sites dropped out, and the patients left allow {allowed} bins of scores instead of {folded}"
        )
