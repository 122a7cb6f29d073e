"""A site's part of the sums that a job needs before its first round: bounded and rounded, as all that leaves.

Each patient counts once, with the mean of their rows. A figure behind which fewer than `min_group` patients
are does not leave:

- counts of classes are rounded as the policy says, and those of too few patients are told as none;
- of a column of numbers leave how many patients have it, rounded, their mean and their spread, both bounded
  so that no few of them steer it (`client.guard.bounds`). What is sent is computed from these figures;
- neighbouring bins of a histogram are merged until each has enough patients; how these lie within it stays.
"""

from collections import defaultdict
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from client.data.samples.site_data import SiteData
from client.guard.bounds import Bounds
from client.guard.release import Release
from shared.job.schema import JobSpec
from shared.metrics.patient_values import PatientValues
from shared.metrics.statistic_spec import LARGEST_VALUE, StatisticSpec
from shared.metrics.statistics import Numbers, Statistics
from shared.tasks.base import Task

_AT_ONCE = 1024  # samples


def part_of(job: JobSpec, task: Task, data: SiteData, release: Release, bounds: Bounds) -> Statistics:
    """Return what a site adds to the statistics of a job, by name.

    Args:
        job: Whose task names them.
        task: Says what a sample adds.
        data: The site's; its training patients count.
        release: What its policy lets leave.
        bounds: Of the site; with `min_group = 1` sums are exact.
    """
    specs = job.task.statistics()
    measured = _measured(task, data) if any(spec.kind != "counts" for spec in specs) else {}
    found: dict[str, Numbers] = {}
    for spec in specs:
        if spec.kind == "counts":
            found[spec.name] = np.array(release.class_counts(data), np.float64)
        elif spec.kind == "moments":
            found[spec.name] = _moments(spec, measured[spec.name], release, bounds)
        else:
            found[spec.name] = _histogram(spec, measured[spec.name][:, 0], release)
    return found


def _measured(task: Task, data: SiteData) -> dict[str, Numbers]:
    """Return the values of each training patient (P, columns), by statistic; NaN where one is not known."""
    samples = data.split("train")
    parts: dict[str, list[Numbers]] = defaultdict(list)
    for indices in samples.batches(_AT_ONCE):
        for name, values in task.measure(samples.batch(indices)).items():
            parts[name].append(values.double().numpy())
    return {name: _by_patient(samples.patients, np.concatenate(rows)) for name, rows in parts.items()}


def _by_patient(patients: list[str], rows: Numbers) -> Numbers:
    of_patients = PatientValues.of(patients, np.clip(rows, -LARGEST_VALUE, LARGEST_VALUE), ~np.isnan(rows))
    counts = of_patients.counts
    return np.divide(of_patients.sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def _moments(spec: StatisticSpec, values: Numbers, release: Release, bounds: Bounds) -> Numbers:
    """Return how many patients have each column, their sum and the sum of their squares (K, 3)."""
    found = np.zeros(spec.shape)
    for column, name in enumerate(spec.of):
        known = values[~np.isnan(values[:, column]), column]
        if not len(known) or not release.has_group(len(known)):
            continue
        told = release.count(len(known))
        mean = bounds.mean(f"mean of {name}", known, LARGEST_VALUE)
        squares = (known - _centre(known, bounds.least)) ** 2
        spread = bounds.mean(f"spread of {name}", squares, spec.largest)
        found[column] = told, told * mean, told * (mean**2 + max(spread, 0.0))
    return found


def _centre(values: NDArray[np.float64], least: int) -> float:
    """Return the mean of values, of which those beyond all but a few count as the last before these."""
    ordered = np.sort(values)
    beyond = min(least - 1, (len(values) - 1) // 2)
    return float(values.clip(ordered[beyond], ordered[-1 - beyond]).mean())


def _histogram(spec: StatisticSpec, values: NDArray[np.float64], release: Release) -> Numbers:
    """Return about how many patients have a value in each bin."""
    bins, width = spec.shape[0], (spec.high - spec.low) / spec.shape[0]
    inside = values[(values >= spec.low) & (values <= spec.high)]
    places = np.minimum(((inside - spec.low) / width).astype(np.int64), bins - 1)
    counts, told = np.bincount(places, minlength=bins), np.zeros(bins)
    if not len(inside) or not release.has_group(len(inside)):
        return told
    least = max(release.min_group, release.step)
    if least == 1:
        return counts.astype(np.float64)
    for first, end in pairwise(_ends(counts, least)):
        total = release.count(int(counts[first:end].sum()))
        each, more = divmod(total, end - first)
        told[first:end] = each
        told[first : first + more] += 1  # whole, and as evenly as can be
    return told


def _ends(counts: NDArray[np.int64], least: int) -> list[int]:
    """Cut bins into runs of at least so many patients: the first bin of each run, and the end of all."""
    ends, behind = [0], 0
    for place, count in enumerate(counts.tolist(), start=1):
        behind += count
        if behind >= least:
            ends.append(place)
            behind = 0
    return [*(ends[:-1] or ends), len(counts)]  # what is left over goes to the last run
