"""What a site claims of itself in a secure sum: numbers that its policy lets leave, and no other."""

from client.data.samples.site_data import SiteData
from client.guard.release import Release
from client.settings.policy import PolicyTable
from shared.job.schema import JobSpec
from shared.privacy.secagg.claims import Claims, counted_classes
from shared.privacy.secagg.records import TRAIN


def claims_of(policy: PolicyTable, job: JobSpec, data: SiteData, phase: str) -> Claims:
    """Return what a site signs about its part in a sum.

    Args:
        policy: The site's.
        job: That asks.
        data: The site's data for the job.
        phase: One of `shared.privacy.secagg.records.PHASES`.
    """
    release = Release.of(policy, job)
    patients, images = data.patients[phase], data.examples[phase]
    if not release.has_group(patients) or not (phase == TRAIN or release.summed_scores):
        return Claims(0, 0)
    told = release.description("", data.patients, data.examples)
    known = told.patients.get(phase, 0)
    if phase != TRAIN:  # where counts stay it takes part, which says that it has a group
        return Claims(told.examples.get(phase, 0), known or release.min_group)
    counts = release.class_counts(data) if counted_classes(job) else ()
    weight = 1 if job.strategy.weight == "equal" else release.examples(images)
    return Claims(weight, known, counts)
