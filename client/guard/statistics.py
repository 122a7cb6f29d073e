"""A site's part of the sums that a job needs before its first round: bounded and rounded, as all that leaves.

Each patient counts once, with the mean of their rows. A figure behind which fewer than `min_group` patients
are does not leave:

- counts of classes are bounded in the same way, then rounded, and those of too few patients are told as none;
- of a column of numbers leave how many patients have it, rounded, their mean and their spread, both bounded
  so that no few of them steer it (`client.guard.bounds`). What is sent is computed from these figures;
- a column whose histogram is asked for is cut into cells of enough patients each, whose counts have noise.
  The bins of a job are filled from these cells: other bins tell nothing more, whatever the horizon.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from client.data.described import described_rows
from client.data.samples.site_data import SiteData
from client.guard.bounds import Bounds
from client.guard.release import Release
from shared.errors import SiteError
from shared.job.schema import JobSpec
from shared.metrics.patient_values import PatientValues
from shared.metrics.statistic_spec import LARGEST_VALUE, StatisticSpec
from shared.metrics.statistics import Numbers, Statistics
from shared.tasks.base import Task

_AT_ONCE = 32  # samples: they may have images


def part_of(job: JobSpec, task: Task, data: SiteData, release: Release, bounds: Bounds) -> Statistics:
    """Return what a site adds to the statistics of a job, by name.

    Args:
        job: Whose task names them.
        task: Says what a sample adds.
        data: The site's; its training patients count.
        release: What its policy lets leave.
        bounds: Of the site; with `min_group = 1` means and spreads are exact.
    """
    specs = job.statistics()
    measured: dict[str, Numbers] = {}
    if job.job.describes:
        patients, rows = data.training_patients, described_rows(job, data)
        measured = {name: _by_patient(patients, values) for name, values in rows.items()}
    elif any(spec.kind != "counts" for spec in specs):
        measured = _measured(task, data)
    found: dict[str, Numbers] = {}
    for spec in specs:
        if spec.kind == "counts":
            found[spec.name] = np.array(release.class_counts(data, bounds), np.float64)
        elif spec.kind == "moments":
            found[spec.name] = _moments(spec, measured[spec.name], release, bounds)
        else:
            found[spec.name] = histogram_of(spec, measured[spec.name][:, 0], release, bounds)
    return found


def _measured(task: Task, data: SiteData) -> dict[str, Numbers]:
    """Return the values of each training patient (P, columns), by statistic; NaN where one is not known."""
    samples = data.split("train")
    parts: dict[str, list[Numbers]] = defaultdict(list)
    for indices in samples.batches(_AT_ONCE):
        for name, values in task.measure(samples.batch(indices)).items():
            parts[name].append(values.double().numpy())
    named = [spec.name for spec in task.job.task.statistics() if spec.kind != "counts"]
    if len(samples) and (lacking := [name for name in named if name not in parts]):
        raise SiteError(f"the task '{task.job.task.name}' does not measure its statistic '{lacking[0]}'")
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


def histogram_of(
    spec: StatisticSpec, values: NDArray[np.float64], release: Release, bounds: Bounds
) -> Numbers:
    """Return about how many patients have a value in each bin.

    Args:
        spec: Says which bins.
        values: One for each patient (P,); NaN where it is not known.
        release: What the policy lets leave.
        bounds: Of the site.
    """
    known = values[~np.isnan(values)]
    if not len(known) or not release.has_group(len(known)):
        return np.zeros(spec.shape)
    ends, told = bounds.cells(known, max(release.min_group, release.step), LARGEST_VALUE)
    below = np.cumsum(told) * (release.count(len(known)) / len(known))
    knots, heights = [*ends], [*below[:-1]]
    if not knots or spec.low < knots[0]:  # the first cell begins where the bins do, the last ends there
        knots, heights = [spec.low, *knots], [0.0, *heights]
    if spec.high > knots[-1]:
        knots, heights = [*knots, spec.high], [*heights, below[-1]]
    edges = np.linspace(spec.low, spec.high, spec.shape[0] + 1)
    return np.diff(np.rint(np.interp(edges, knots, heights)))
