"""Who would be behind the updates of a job here, for whoever is to approve it."""

from pathlib import Path

from client.guard.cohort import Cohort
from client.guard.update_plan import with_targets
from client.settings.site import SiteConfig
from shared.errors import WardroundError
from shared.job.schema import JobSpec
from shared.loading import loading

_ROUNDS = 50  # looked at: the others take as many images, in another order


def patients_behind(folder: Path, config: SiteConfig, job: JobSpec) -> str:
    """Return in words how many patients' images make up each update of a job.

    Args:
        folder: The site's; nothing is written there.
        config: The site's.
        job: That waits; no image is read for it.
    """
    with loading():  # with PyTorch and readers of images
        from client.guard.site_cohort import SiteCohort  # noqa: PLC0415

    try:
        own = SiteCohort(config, Cohort.rehearsed(folder))
        data = own.for_training(job, own.load(job))
        rounds = range(1, min(job.job.rounds, _ROUNDS) + 1)
        counts = [own.behind_update(job, data, round_) for round_ in rounds]
    except WardroundError as error:
        return f"nobody knows, since the data can't be used for it now: {error.problem}"
    fewest, most = min(counts), max(counts)
    number = str(fewest) if fewest == most else f"{fewest} to {most}"
    expected = " on average" if job.privacy.mechanism == "dp-sgd" else ""
    text = f"images of {number} patient{'s' * (most != 1)}{with_targets(job)} of this site{expected}"
    least = config.policy.min_patients_in_update
    if most < least and not job.privacy.secure_aggregation:
        return f"{text}, fewer than the {least} of policy.min_patients_in_update: every round is refused"
    if fewest < least and not job.privacy.secure_aggregation:
        text += f", and a round with fewer than {least} is refused (policy.min_patients_in_update)"
    return text
