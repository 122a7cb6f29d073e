"""What leaves of the groups of a test: each as if it were a test of its own, and none that others tell.

- A group of fewer than `min_group` patients has no states, and looks like one where nobody is.
- Nor has one that tells of fewer than `min_group`, together with the test as a whole, with other groups and
  with all that was told of these patients before: of the rest of a column, or of those between the ends of
  two jobs (`client.guard.cohort_book`).
- Each patient is in the test and in a group of each column. So the noise of groups is as much larger as if
  all were one look: a test with groups is at most two looks.
- Each group has noise of its own: of one that is the whole test, the same noise twice, once larger, would
  tell the figure without any.
"""

from collections.abc import Mapping
from dataclasses import replace

from client.guard.bounded_sums import bound
from client.guard.bounds import Bounds
from client.guard.metric_release import withhold
from shared.job.schema import JobSpec
from shared.metrics.grouped import GroupedMetrics


def bound_and_withhold(
    metrics: GroupedMetrics,
    told: Mapping[str, frozenset[str]],
    bounds: Bounds,
    job: JobSpec,
    *,
    bins: int,
    masked: bool,
) -> None:
    """Bound and withhold what may not leave of the metrics of a split.

    Args:
        metrics: With the patients of the split, and of the groups that are told; others are empty.
        told: The groups of which something leaves.
        bounds: Of the site.
        job: That asks.
        bins: Most bins of scores that are left.
        masked: Whether only a sum over sites is ever seen, whose counts are complete.
    """
    bound(metrics.whole, bounds, bins)
    if not masked:
        withhold(metrics.whole, bounds, bins)
    for name in told:
        own = _of_group(bounds, name, len(job.evaluation.groups))
        most = metrics.bins_of(name, bins)
        bound(metrics.groups[name], own, most if masked else bins)
        if not masked:
            withhold(metrics.groups[name], own, most)


def _of_group(bounds: Bounds, name: str, columns: int) -> Bounds:
    def noise(digest: str) -> int:
        return bounds.noise(f"{name}\x1f{digest}")

    return replace(bounds, beside=1 + columns, noise=noise)
