"""The class counts by which a site's loss weighs classes: of everybody, of the site, or publicly known."""

import numpy as np
from numpy.typing import NDArray

from client.data.dataset import SiteData
from shared.job import JobSpec
from shared.losses import public_counts
from shared.tasks.options import ClassesOptions


def counts_for_loss(job: JobSpec, data: SiteData, federation: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Return the class counts that the job's loss needs, or None.

    Args:
        job: Says whether its loss weighs classes, and by whose counts.
        data: The site's own.
        federation: The counts of all sites; none where there is no federation, then the site's own serve.
    """
    if (public := public_counts(job)) is not None:
        return public
    if not isinstance(job.task, ClassesOptions) or not job.task.needs_counts:
        return None
    if job.task.statistics_size() and federation:
        return np.asarray(federation, dtype=np.int64)
    return data.class_counts()
