"""What a test says of groups of its patients: of all hospitals, and of each whose own states are known."""

import math
from collections.abc import Mapping
from typing import Any

from server.report.comparison import from_tally
from server.report.groups import KEY
from shared.decisions.choice import Choice
from shared.decisions.judged import judged
from shared.job.schema import JobSpec
from shared.metrics.grouped import GroupedMetrics
from shared.metrics.states import Mean, MetricSet


def group_entries(
    job: JobSpec,
    choice: Choice | None,
    pooled: GroupedMetrics,
    sites: Mapping[str, GroupedMetrics],
    patients: int,
) -> dict[str, Any]:
    """Return the entry of `run.json`: by group what the `federation` reaches, and each of the `sites`.

    Args:
        job: Of the run.
        choice: Of thresholds, made before the test.
        pooled: Of all sites together.
        sites: Of those whose own states are known.
        patients: Behind all, as the sites round them: a patient's images count as one in an interval.
    """
    if not pooled.groups:
        return {}
    share = min(1.0, patients / max(1, _images(pooled.whole)))
    return {
        KEY: {
            "federation": _figures(job, choice, pooled, share),
            "sites": {name: _figures(job, choice, own, share) for name, own in sorted(sites.items())},
        }
    }


def _figures(
    job: JobSpec, choice: Choice | None, metrics: GroupedMetrics, share: float
) -> dict[str, dict[str, Any]]:
    return {name: _of(job, choice, part, share) for name, part in metrics.groups.items() if _images(part)}


def _of(job: JobSpec, choice: Choice | None, part: MetricSet, share: float) -> dict[str, Any]:
    images = _images(part)
    figures = {name: value for name, value in part.compute().items() if not math.isnan(value)}
    intervals = from_tally(job, figures, part.tally(), round(images * share))
    found: dict[str, Any] = {"images": images, "metrics": figures, "intervals": intervals}
    curves, label = part.curves(), job.task.classified()
    folded = job.privacy.secure_aggregation  # a group's bins are merged then, across any threshold
    if choice is not None and choice.thresholds and curves is not None and label is not None and not folded:
        told = judged(choice, label[1], curves, round(images * share))
        found["at_threshold"] = told["at_threshold"]
    return found


def _images(part: MetricSet) -> int:
    """Return about how many images are in a group: as many as have a loss, or a class."""
    loss, tally = part.metrics.get("loss"), part.tally()
    counted = int(loss.count.max()) if isinstance(loss, Mean) else 0
    return max(counted, 0 if tally is None else int(tally[:, 0].sum()))
