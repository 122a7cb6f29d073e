"""The class counts by which a site's loss weighs classes: of everybody, of the site, or publicly known."""

import numpy as np

from client.data.dataset import SiteData
from shared.job import JobSpec
from shared.losses import public_counts
from shared.tasks.base import Statistics
from shared.tasks.classes import CLASS_COUNTS
from shared.tasks.options import ClassesOptions


def statistics_for_loss(job: JobSpec, data: SiteData, federation: tuple[int, ...]) -> Statistics:
    """Return the class counts that the job's loss needs, if any.

    Args:
        job: Says whether its loss weighs classes, and by whose counts.
        data: The site's own.
        federation: The counts of all sites; none where there is no federation, then the site's own serve.
    """
    needs_counts = isinstance(job.task, ClassesOptions) and job.task.needs_counts
    if not needs_counts or public_counts(job) is not None:
        return {}
    if job.task.statistics_size() and federation:
        return {CLASS_COUNTS: np.asarray(federation, dtype=np.int64)}
    return {CLASS_COUNTS: data.class_counts()}
