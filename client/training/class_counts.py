"""The class counts by which a site's loss weighs classes: of everybody, of the site, or publicly known."""

import numpy as np

from client.data.samples.site_data import SiteData
from shared.job.schema import JobSpec
from shared.tasks.base import Statistics
from shared.tasks.losses import public_counts
from shared.tasks.options import CLASS_COUNTS


def statistics_for_loss(job: JobSpec, data: SiteData, known: Statistics) -> Statistics:
    """Return the class counts that the job's loss needs, if any.

    Args:
        job: Says whether its loss weighs classes, and by whose counts.
        data: The site's own.
        known: The statistics of all sites; without a federation there are none, and the site's own
            counts serve.
    """
    if not job.task.needs_counts or public_counts(job) is not None:
        return {}
    if CLASS_COUNTS in known:
        return {CLASS_COUNTS: known[CLASS_COUNTS].astype(np.int64)}
    return {CLASS_COUNTS: data.class_counts()}
