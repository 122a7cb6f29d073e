"""The figures of survival for many draws of its patients, and what one curve for all reaches."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.tasks.survival.losses import brier_scores

Numbers = NDArray[np.float64]

_EVENTS_AT_ONCE = 256


def pairs_of_draws(risks: Numbers, times: Numbers, observed: Numbers, draws: Numbers) -> Numbers:
    """Return concordant and comparable pairs (R, 2), as `shared.tasks.survival.losses.pairs` counts them.

    A patient who is drawn twice makes no pair with themselves.

    Args:
        risks: Of the patients of one site (P,).
        times: (P,)
        observed: (P,)
        draws: How often each counts (R, P).
    """
    events, found = np.flatnonzero(observed > 0), np.zeros((len(draws), 2))
    for start in range(0, len(events), _EVENTS_AT_ONCE):
        own = events[start : start + _EVENTS_AT_ONCE]
        for column, kind in enumerate(_beside(own, risks, times, observed)):
            found[:, column] += ((draws @ kind.T) * draws[:, own]).sum(axis=1)
    return 2 * found  # a pair is counted for both


def _beside(
    own: NDArray[np.int64], risks: Numbers, times: Numbers, observed: Numbers
) -> tuple[Numbers, Numbers]:
    """Return who is rightly at less risk than patients with an event (E,), and who is known to live longer.

    Both are (E, P): 1, or 0.5 where the risks are equal; and 1 for who lives longer.
    """
    until, risk = times[own, None], risks[own, None]
    later = ((times > until) | ((times == until) & (observed <= 0))).astype(float)
    return later * np.where(risk > risks, 1.0, np.where(risk == risks, 0.5, 0.0)), later


def chance_in_pairs(risks: Numbers, times: Numbers, observed: Numbers, concordance: float) -> Numbers:
    """Return two variances of a site's pairs (2,), from which `spread_of_pairs` finds the concordance's.

    With e_ij, what a pair adds to (concordant pairs) - concordance (comparable pairs), both of its patients
    counted: that which its patients bring by themselves, 4 Σ_i (Σ_j e_ij)², and that of single pairs,
    2 Σ_ij d_ij², where d is what patients do not explain (Hoeffding, Annals of Mathematical Statistics 1948).

    Args:
        risks: Of the patients of one site (P,).
        times: (P,)
        observed: (P,)
        concordance: Of all sites.
    """
    events, patients = np.flatnonzero(observed > 0), len(risks)
    of_patient, squares = np.zeros(patients), 0.0
    for start in range(0, len(events), _EVENTS_AT_ONCE):
        own = events[start : start + _EVENTS_AT_ONCE]
        right, later = _beside(own, risks, times, observed)
        moves = right - concordance * later
        of_patient[own] += moves.sum(axis=1)
        of_patient += moves.sum(axis=0)
        squares += 2 * np.square(moves).sum()
    if patients < 3:
        return np.array([4 * np.square(of_patient).sum(), 0.0])
    mean = of_patient.mean() / (patients - 1)
    own_effects = (of_patient - of_patient.mean()) / (patients - 2)
    explained = patients * (patients - 1) * mean**2 + 2 * (patients - 2) * np.square(own_effects).sum()
    return np.array([4 * np.square(of_patient).sum(), 2 * max(squares - explained, 0.0)])


def spread_of_pairs(by_patients: float, by_pairs: float) -> float:
    """Return the standard deviation of a concordance, in parts of the one that draws of its patients have.

    With the variances V1 of the patients and V2 of single pairs, that of the sums is V1 + V2. Draws multiply
    the numbers of two patients, so they have V1 + 3 V2, and what patients bring in the data is V1 + 2 V2, as
    it has the chance of their pairs in it. That matters where hospitals are small.

    Args:
        by_patients: V1 + 2 V2, as `chance_in_pairs` estimates it, of all sites together.
        by_pairs: V2, likewise.
    """
    in_draws = by_patients + by_pairs
    return math.sqrt(max((by_patients - by_pairs) / in_draws, 1 / 3)) if in_draws > 0 else 1.0


def kaplan_meier(events: Numbers, edges: Numbers) -> Numbers:
    """Return the share that survives each edge (K,) (Kaplan and Meier, JASA 1958).

    Args:
        events: Times, and whether the event came then (N, 2).
        edges: (K,) A time at the edge itself survives it, as in `brier_scores`.
    """
    times, observed = events.T
    moments = np.unique(times[observed > 0])
    at_risk = (times[None, :] >= moments[:, None]).sum(axis=1)
    deaths = ((times[None, :] == moments[:, None]) & (observed[None, :] > 0)).sum(axis=1)
    shares = np.cumprod(np.append(1.0, 1 - deaths / at_risk))
    return shares[np.searchsorted(moments, edges, side="left")]


def errors_of_curves(curves: Sequence[Numbers], events: Sequence[Tensor], edges: Tensor) -> Tensor:
    """Return the mean squared error at each edge (K,) of one curve for all patients of a site.

    Args:
        curves: Of each site (K,).
        events: Of each site's test (N, 2).
        edges: (K,)
    """
    total, count = torch.zeros_like(edges), torch.zeros_like(edges)
    for curve, event in zip(curves, events, strict=True):
        survival = torch.from_numpy(curve).expand(len(event), -1)
        scores, known = brier_scores(survival, event[:, 0], event[:, 1], edges)
        total += torch.where(known, scores, 0.0).sum(dim=0)
        count += known.sum(dim=0)
    return total / count
