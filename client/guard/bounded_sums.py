"""Sums over patients that no few of them steer: what a site tells of real-valued metrics, masked or not.

A model can be made that gives one patient's image any value, and everybody else's a known one. The exact
sum is then a number about that patient. So every sum that is not a count of images leaves like this:

1. Each patient's value is the mean over their images. All are cut to a range beyond either end of which some
   patients lie; how many is drawn. The ends are rungs of a fixed ladder.
2. Noise is added, of which three standard deviations are what `min_group` patients could move the sum within
   the range. Where one patient lies between two groups of others, the range alone would not hide them.
3. Where not every image has a value, the number of those that have one gets such noise too, and the sum is
   scaled to it: the mean stays.

Where a patient's value depends on the others', one patient moves all of them, and the range with them. Such a
sum has noise that follows from what one patient can move of it, or where nothing bounds that does not leave.

With `min_group = 1` sums are exact. It is not differential privacy: the range depends on the patients.
"""

from dataclasses import replace
from math import inf

import numpy as np
import torch

from client.guard.bounds import Bounds, Counts, Names
from client.guard.metric_release import fill, require_known
from shared.metrics.histograms import CalibrationBins, Histograms, runs
from shared.metrics.states import Mean, MetricSet, Totals


def bound(metrics: MetricSet, bounds: Bounds, bins: int) -> None:
    """Replace every sum that one patient could steer by its bounded one; counts of images stay.

    Args:
        metrics: With the images of one split, whose bins are folded already.
        bounds: Of the site; with `min_group = 1` nothing changes.
        bins: Largest number of bins that are left.

    Raises:
        TypeError: It is not known of a metric what one patient adds to it.
    """
    if bounds.least <= 1:
        return
    scores = metrics.scores()
    require_known(metrics, scores, metrics.cells())
    metrics.settle()
    for name, metric in metrics.metrics.items():
        if isinstance(metric, CalibrationBins):
            metric.centre(bins)
        elif isinstance(metric, Histograms) and scores[name].several:
            merged = [(first, end - 1) for first, end in runs(metric.positives.shape[1], bins)]
            fill(metric, scores[name], [merged] * len(metric.positives), bounds.least, _exact)
        elif isinstance(metric, Mean):
            _bound_mean(metrics, name, metric, bounds)
        elif isinstance(metric, Totals):
            _bound_totals(metrics, name, metric, bounds)


def _exact(_: Names, samples: Counts) -> Counts:
    total: Counts = samples.sum(axis=0)
    return total


def _bound_mean(metrics: MetricSet, name: str, mean: Mean, bounds: Bounds) -> None:
    values, largest = metrics.values(name), metrics.limit(name, "total")
    reach = metrics.reach(name, len(values.patients))
    if metrics.needs_exact(name) or reach == inf:
        mean.total.zero_()
        mean.count.zero_()
        return
    signed = metrics.is_signed(name)
    bounds = replace(bounds, looks=values.sums.shape[1])
    if reach is not None:
        _bound_compared(metrics, name, mean, bounds, reach)
        return
    for column in range(values.sums.shape[1]):
        there = values.counts[:, column]
        if np.count_nonzero(there) < bounds.needed:
            mean.total[column] = mean.count[column] = 0
            continue
        total = bounds.column(name, values, column, largest, signed=signed)
        images = int(there.sum())
        if metrics.is_partial(name):
            noisy, _ = bounds.counts(values.patients, np.stack([there, values.images - there], axis=1))
            told = max(bounds.least, int(noisy))
            total, images = total / images * told, told
        mean.total[column], mean.count[column] = total, images


def _bound_compared(metrics: MetricSet, name: str, mean: Mean, bounds: Bounds, reach: float) -> None:
    """Bound sums of values that compare each patient with the others, such as pairs; the counts stay."""
    values = metrics.values(name)
    patients = len(values.patients)
    if patients < bounds.least:
        mean.total.zero_()
        mean.count.zero_()
        return
    most = patients * min(metrics.limit(name, "total"), reach)
    for column in range(values.sums.shape[1]):
        mean.total[column] = bounds.whole(name, values, column, reach, most)


def _bound_totals(metrics: MetricSet, name: str, totals: Totals, bounds: Bounds) -> None:
    """Bound whole numbers added up over patients, such as voxels; they stay whole.

    A model can be made that spreads one patient over many bins: each is a look, and they are told together.
    """
    of_images = metrics.values(name)
    values = replace(of_images, counts=np.ones_like(of_images.counts))  # of a patient, not of an image
    images = float(of_images.counts[:, 0].sum())
    largest = images * metrics.limit(name, "total") / len(values.patients)
    looks = totals.total.shape[-1]
    if totals.are_bins:  # what is counted elsewhere moves two of them
        looks = max(looks, min(values.sums.shape[1], 2 * int(values.sums.sum(axis=1).max())))
    bounds = replace(bounds, looks=looks)
    told = [round(bounds.column(name, values, column, largest)) for column in range(values.sums.shape[1])]
    totals.total.copy_(torch.tensor(told).reshape(totals.total.shape))
