"""What a site's part of the statistics may be: no more than it described, and no more than its share of all.

The statistics set the scale of every site's training (weights of classes, means of columns), so a part that
nobody bounds would be all of them.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from shared.job.schema import JobSpec
from shared.limits import MOST_ROUNDING
from shared.metrics.statistic_spec import StatisticSpec
from shared.metrics.statistics import Numbers, Statistics
from shared.strategies.largest_share import bounded
from shared.wire.messages import Description, MessageError

_SLACK = 1.5  # of a sum of rounded counts, each of which may be half as large again
_LARGEST_IMAGE = 2**31  # voxels, where the job does not fix the size


def check_statistics(
    part: Statistics, specs: Sequence[StatisticSpec], description: Description, job: JobSpec
) -> None:
    """Check a site's part of the statistics.

    Args:
        part: By name.
        specs: Of the job.
        description: What the site said that it has.
        job: Says how many voxels an image has.

    Raises:
        MessageError: It is of more patients, or images, than were described.
    """
    for spec in specs:
        described = (description.examples if spec.kind == "counts" else description.patients)["train"]
        most = (described + MOST_ROUNDING) * (_each(job) if spec.kind == "counts" else 1)
        counts = _counts(spec, part[spec.name])
        if counts.max(initial=0) > most or (spec.kind == "histogram" and counts.sum() > most * _SLACK):
            raise MessageError(f"has '{spec.name}' of more than the {described} that it described")


def within_share(
    specs: Sequence[StatisticSpec], parts: Mapping[str, Statistics], largest: float
) -> dict[str, dict[str, Numbers]]:
    """Return the parts of all sites, each cut down to what the largest share of all leaves it.

    Counts are cut in one proportion; a column keeps its mean and its spread. Who has no more than the share
    keeps every number.

    Args:
        specs: Of the job.
        parts: By site.
        largest: Share of the sum that one site may have; an equal share is always allowed.
    """
    found: dict[str, dict[str, Numbers]] = {site: dict(part) for site, part in parts.items()}
    for spec in specs:
        columns = spec.shape[0] if spec.kind == "moments" else 1
        for column in range(columns):
            place = slice(column, column + 1) if spec.kind == "moments" else slice(None)
            had = {site: int(_counts(spec, part[spec.name][place]).sum()) for site, part in parts.items()}
            for site, kept in bounded(had, largest).items():
                if kept < had[site]:
                    numbers = found[site][spec.name].copy()
                    numbers[place] = _cut(spec, numbers[place], kept / had[site])
                    found[site][spec.name] = numbers
    return found


def _cut(spec: StatisticSpec, numbers: Numbers, share: float) -> Numbers:
    if spec.kind != "moments":
        return np.floor(numbers * share)
    count = numbers[:, :1]
    kept = np.floor(count * share)
    return np.hstack([kept, numbers[:, 1:] * (kept / count)])


def _counts(spec: StatisticSpec, numbers: Numbers) -> Numbers:
    return numbers[..., 0] if spec.kind == "moments" else numbers


def _each(job: JobSpec) -> int:
    """Return how many samples of a class an image may be: itself, or its voxels."""
    if all(field.kind != "mask" for field in job.task.fields().values()):
        return 1
    return math.prod(job.data.size) if job.data.size is not None else _LARGEST_IMAGE
