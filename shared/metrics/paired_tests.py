"""Whether two models differ on the same patients: permutation, and DeLong's test.

What is compared is a figure of all patients. A patient's images go together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.metrics.bootstrap import Bootstrap
from shared.metrics.replicates import PACKED, PATIENT, TRAIN, Figures, Tables, patients_in

if TYPE_CHECKING:
    from shared.metrics.states import MetricSet

Numbers = NDArray[np.float64]
_Z = 1.96


@dataclass(frozen=True)
class Difference:
    """By how much a second model's figure is larger than a first one's.

    Attributes:
        value: Of the test patients.
        low: Lower end of its interval of 95 %.
        high: Upper end.
        p: Two-sided, that a difference as large is chance.
        test: Name of the test that `p` is of.
    """

    value: float
    low: float
    high: float
    p: float
    test: str


def auroc_influence(
    patient: NDArray[np.int64], truth: NDArray[np.bool_], scores: NDArray[Any], patients: int
) -> Numbers:
    """Return by how much each patient moves an AUROC, to first order (P,).

    The sum of their squares is its variance: with one image for each patient that of DeLong et al.
    (Biometrics 1988), with several nearly that of Obuchowski (Biometrics 1997).

    Args:
        patient: Of each image (N,), from 0.
        truth: Whether each image is of the class (N,).
        scores: Of each image (N,); equal ones are ties.
        patients: How many there are.

    Returns:
        Zeros where the images are of one kind.
    """
    found = np.zeros(patients)
    positives, negatives = np.sort(scores[truth]), np.sort(scores[~truth])
    if not len(positives) or not len(negatives):
        return found
    for kind, others in ((truth, negatives), (~truth, positives)):
        own = scores[kind]
        above = (np.searchsorted(others, own) + np.searchsorted(others, own, side="right")) / (
            2 * len(others)
        )
        above = above if others is negatives else 1 - above
        clusters = len(np.unique(patient[kind]))
        scale = sqrt(clusters / (clusters - 1)) if clusters > 1 else 1.0
        found += scale * np.bincount(patient[kind], above - above.mean(), patients) / len(own)
    return found


@dataclass(frozen=True)
class Judged:
    """What a model's test has left.

    Attributes:
        metrics: Empty; they hold other states afterwards.
        sites: The tables of each site.
    """

    metrics: "MetricSet"
    sites: Sequence[Tables]


def differences(
    first: Judged, second: Judged, bootstrap: Bootstrap, swaps: NDArray[np.bool_] | None
) -> dict[str, Difference]:
    """Return by how much the figures of two models differ, each with its interval and its p.

    AUROC has DeLong's test and interval. Of other figures the interval is of a bootstrap over the patients,
    and p of a permutation: were the models alike, either could have given the answer for any patient.

    Args:
        first: A model's test.
        second: Another's, of the same patients in the same order.
        bootstrap: Draws of the patients.
        swaps: (S, P) whose answers change places; None where the two add up in other units, and p is of the
            bootstrap.
    """
    figures = [own.metrics.resampled(own.sites, bootstrap.draws) for own in (first, second)]
    left_out = first.metrics.no_interval
    names = [name for name in figures[0] if name in figures[1] and name not in left_out]
    names = [name for name in names if not isnan(figures[1][name][0] - figures[0][name][0])]
    chance = {} if swaps is None else _swapped(first.metrics, first.sites, second.sites, swaps)
    one, other = (own.metrics.influences(own.sites) for own in (first, second))
    found = {}
    for name in names:
        gains = figures[1][name] - figures[0][name]
        if name in one and name in other:
            found[name] = _of_influences(float(gains[0]), other[name] - one[name])
        elif (interval := bootstrap.interval_of_difference(gains)) is not None:
            drawn = gains[: bootstrap.number + 1]
            found[name] = Difference(float(gains[0]), *interval, *_p(drawn, chance.get(name)))
    return found


def _of_influences(value: float, moves: Numbers) -> Difference:
    error = float(np.sqrt((moves**2).sum()))
    p = 2 * NormalDist().cdf(-abs(value) / error) if error > 0 else 1.0
    return Difference(value, value - _Z * error, value + _Z * error, p, "DeLong")


def _p(gains: Numbers, chance: Numbers | None) -> tuple[float, str]:
    """Return the p of a difference and its test: a permutation, where there is one, else the bootstrap."""
    if chance is not None:
        known = chance[~np.isnan(chance)]
        as_large = np.abs(known) >= abs(gains[0]) - 1e-12
        return float((as_large.sum() + 1) / (len(known) + 1)), "permutation"
    known = gains[1:][~np.isnan(gains[1:])]
    tail = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / (len(known) + 1))), "bootstrap"


def _swapped(
    metrics: "MetricSet", first: Sequence[Tables], second: Sequence[Tables], swaps: NDArray[np.bool_]
) -> Figures:
    """Return the differences (S,) with the answers for some patients changed."""
    both = [_together(metrics, one, other) for one, other in zip(first, second, strict=True)]
    kept, start = [], 0
    for tables in first:
        end = start + patients_in(tables)
        own = swaps[:, start:end]
        kept.append(np.hstack([~own, own]))  # the first model's answers, then the second's
        start = end
    chosen = np.hstack(kept).astype(np.int64)
    whole = np.ones((1, chosen.shape[1]), np.int64)
    figures = metrics.resampled(both, np.vstack([whole, chosen, 1 - chosen]))
    number = len(swaps)
    return {name: values[number + 1 :] - values[1 : number + 1] for name, values in figures.items()}


def _together(metrics: "MetricSet", one: Tables, other: Tables) -> Tables:
    """Return the tables of a site whose patients two models have judged, each as if he were two patients."""
    found = {
        name: torch.cat([values, other[name] + (patients_in(one) if name == PATIENT else 0)])
        for name, values in one.items()
        if name not in (PACKED, TRAIN)
    }
    if PACKED in one:
        every = np.ones((1, patients_in(found)), np.int64)
        found[PACKED] = torch.from_numpy(metrics.drawn_states([found], every)[0])
    return found
