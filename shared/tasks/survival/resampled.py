"""The figures of survival for many draws of its patients, and what one curve for all reaches."""

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
        until, risk = times[own, None], risks[own, None]
        later = ((times > until) | ((times == until) & (observed <= 0))).astype(float)  # (E, P)
        right = later * np.where(risk > risks, 1.0, np.where(risk == risks, 0.5, 0.0))
        for column, kind in enumerate((right, later)):
            found[:, column] += ((draws @ kind.T) * draws[:, own]).sum(axis=1)
    return 2 * found  # a pair is counted for both


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
