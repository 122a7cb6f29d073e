"""What a site claims of itself in a secure sum: numbers that its policy lets leave, and no other."""

from client.data.samples.site_data import SiteData
from client.guard.release import Release
from client.settings.policy import PolicyTable
from shared.job.schema import JobSpec
from shared.privacy.secagg.claims import Claims
from shared.privacy.secagg.records import TRAIN, side_of


def claims_of(policy: PolicyTable, job: JobSpec, data: SiteData, phase: str) -> Claims:
    """Return what a site signs about its part in a sum.

    Args:
        policy: The site's.
        job: That asks.
        data: The site's data for the job.
        phase: One of `shared.privacy.secagg.records.PHASES`.
    """
    release = Release.of(policy, job)
    side = side_of(phase)
    patients, images = data.patients[side], data.examples[side]
    if not release.has_group(patients) or not (side == TRAIN or release.summed_scores):
        return Claims(0, 0)
    told = release.description("", data.patients, data.examples)
    known = told.patients.get(side, 0)
    if phase != TRAIN:  # where counts stay it takes part, which says that it has a group
        return Claims(told.examples.get(side, 0), known or release.min_group)
    weight = 1 if job.strategy.weight == "equal" else release.examples(images)
    return Claims(weight, known)
