"""The losses of survival, and what is read from a network's output: plain functions of tensors.

Times are in whatever unit the manifest has; `observed` is 1 where the event came, 0 where somebody was
censored.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

Ties = Literal["efron", "breslow"]


def cox_losses(scores: Tensor, times: Tensor, observed: Tensor, ties: Ties) -> Tensor:
    """Return the negative log partial likelihood of Cox (J R Stat Soc B 1972), a term for each event.

    Whoever is in the batch is at risk until their time. Their sum is what training minimises; a term depends
    on everybody else in the batch, so it is not a loss of one sample.

    Args:
        scores: Log hazards (B,).
        times: (B,)
        observed: (B,)
        ties: How events at one time share their risk: by Efron (JASA 1977), or by Breslow (Biometrics 1974).

    Returns:
        (B,), 0 for who was censored.
    """
    events, scores = observed > 0, scores.float() if scores.dtype == torch.float16 else scores
    moments, place = times.unique(return_inverse=True)  # ascending
    shift = scores.detach().max()
    hazards = (scores - shift).exp()
    at_moment = torch.zeros(len(moments), dtype=hazards.dtype, device=scores.device)
    at_risk = at_moment.index_add(0, place, hazards).flip(0).cumsum(0).flip(0)[place]
    if ties == "efron":
        tied = at_moment.index_add(0, place, hazards * events)[place]
        at_risk = at_risk - _shares_gone(place, events).to(hazards.dtype) * tied
    terms = at_risk.clamp(min=torch.finfo(hazards.dtype).tiny).log() + shift - scores
    return torch.where(events, terms, torch.zeros_like(terms))


def _shares_gone(place: Tensor, events: Tensor) -> Tensor:
    """Return for each event of several at one time the share of them that came before it, in their order."""
    same = (place[:, None] == place[None, :]) & events[None, :]
    before = same.tril(-1).sum(dim=1)
    return before.double() / same.sum(dim=1).clamp(min=1)


def hazard_losses(logits: Tensor, times: Tensor, observed: Tensor, edges: Tensor) -> Tensor:
    """Return the negative log likelihood of hazards in intervals (Gensheimer and Narasimhan, PeerJ 2019).

    An event counts in the interval that holds its time. Who was censored has survived an interval if they
    were followed beyond its middle. What comes after the last edge is not modelled: whoever gets there
    survives.

    Args:
        logits: Of the hazard in each interval (B, K).
        times: (B,)
        observed: (B,)
        edges: The upper end of each interval (K,), ascending and above 0.

    Returns:
        (B,)
    """
    starts = torch.cat([edges.new_zeros(1), edges[:-1]])
    events, until = observed[:, None] > 0, times[:, None]
    survived = torch.where(events, until >= edges, until >= (starts + edges) / 2)
    ended = events & (until >= starts) & (until < edges)
    logits = logits.float() if logits.dtype == torch.float16 else logits
    return (survived * softplus(logits) + ended * softplus(-logits)).sum(dim=1)


def survival_at(logits: Tensor) -> Tensor:
    """Return the chance of surviving each interval and all before it (B, K), from logits of hazards."""
    return (-softplus(logits.double())).cumsum(dim=1).exp()


def deephit_losses(logits: Tensor, times: Tensor, observed: Tensor, edges: Tensor) -> Tensor:
    """Return the negative log likelihood of the interval of the event (Lee et al., AAAI 2018, equation 3).

    The chances of all intervals, and of no event before the last edge, add up to 1. Who was censored has
    survived an interval as in `hazard_losses`.

    Args:
        logits: Of the event in each interval (B, K); that of none is 0.
        times: (B,)
        observed: (B,)
        edges: (K,)

    Returns:
        (B,)
    """
    chances = _log_chances(logits)
    starts = torch.cat([edges.new_zeros(1), edges[:-1]])
    until = times[:, None]
    interval = (until >= edges).sum(dim=1, keepdim=True)
    outlived = (until >= (starts + edges) / 2).sum(dim=1, keepdim=True)
    later = torch.arange(chances.shape[1], device=logits.device) >= outlived
    surviving = chances.masked_fill(~later, -torch.inf).logsumexp(dim=1)
    return -torch.where(observed > 0, chances.gather(1, interval)[:, 0], surviving)


def ranking_loss(logits: Tensor, times: Tensor, observed: Tensor, edges: Tensor, sigma: float) -> Tensor:
    """Return the ranking loss of DeepHit over the pairs of a batch (Lee et al. 2018, equation 4).

    For whoever had the event and each who was followed longer it is the exponential of how much likelier the
    event was by then for the other, over sigma; the mean over these pairs.

    Args:
        logits: (B, K)
        times: (B,)
        observed: (B,)
        edges: (K,)
        sigma: How steep it is.
    """
    died = 1 - surviving(logits)
    interval = (times[:, None] >= edges).sum(dim=1).clamp(max=len(edges) - 1)
    by_then = died[:, interval].T  # (B, B): of whom the row had the event, the chance of each column by then
    pairs_ = (observed[:, None] > 0) & (times[:, None] < times[None, :])
    terms = ((by_then - by_then.diagonal()[:, None]) / sigma).exp()
    return (terms * pairs_).sum() / pairs_.sum().clamp(min=1)


def surviving(logits: Tensor) -> Tensor:
    """Return the chance of surviving each interval and all before it (B, K), from logits of DeepHit."""
    chances = _log_chances(logits)
    return 1 - chances[:, :-1].exp().cumsum(dim=1).clamp(max=1)


def survival_of(loss: str, logits: Tensor) -> Tensor:
    """Return the chance of surviving each interval and all before it (B, K), from what a loss has trained."""
    return surviving(logits.double()) if loss == "deephit" else survival_at(logits)


def _log_chances(logits: Tensor) -> Tensor:
    logits = logits.float() if logits.dtype == torch.float16 else logits
    return torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1).log_softmax(dim=1)


def mean_time(survival: Tensor, edges: Tensor) -> Tensor:
    """Return the mean time until the event, up to the last edge (B,): the area below the survival curve.

    Args:
        survival: At each edge (B, K), and 1 at time 0; straight between them.
        edges: (K,)
    """
    edges = edges.double()
    widths = torch.diff(edges, prepend=edges.new_zeros(1))
    before = torch.cat([torch.ones_like(survival[:, :1]), survival[:, :-1]], dim=1)
    return ((before + survival) / 2 * widths).sum(dim=1)


def pairs(risks: Tensor, times: Tensor, observed: Tensor) -> Tensor:
    """Count for each of some patients the pairs by which Harrell's C judges (JAMA 1982).

    Two patients can be compared if the earlier of their times is that of an event; at one time, if one of
    them had the event and the other was censored. Such a pair is concordant if the higher risk is that of the
    earlier event; equal risks count half.

    Args:
        risks: (N,), higher for an earlier event.
        times: (N,)
        observed: (N,)

    Returns:
        (N, 2) float64: concordant pairs and comparable pairs that the patient is in. A pair is counted for
        both, which leaves the ratio of the sums as it is.
    """
    events = observed > 0
    found = torch.zeros(len(risks), 2, dtype=torch.float64)
    for patient in events.nonzero().flatten().tolist():  # a row at a time: a square of all would be large
        later = (times > times[patient]) | ((times == times[patient]) & ~events)
        right = torch.where(risks[patient] > risks, 1.0, torch.where(risks[patient] == risks, 0.5, 0.0))
        own = torch.stack([right.double() * later, later.double()], dim=1)
        found += own
        found[patient] += own.sum(dim=0)
    return found


def brier_scores(survival: Tensor, times: Tensor, observed: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared error of the chance to survive each edge, where it is known who did.

    Args:
        survival: (B, K)
        times: (B,)
        observed: (B,)
        edges: (K,)

    Returns:
        Scores (B, K), and whether each counts (B, K): who was censored before an edge does not.
    """
    alive = times[:, None] >= edges
    known = alive | (observed[:, None] > 0)
    return (alive.double() - survival.double()) ** 2, known


def survival_until(survival: Tensor, times: Tensor, edges: Tensor) -> Tensor:
    """Return the chance of surviving until each patient's own time (B,); after the last edge, until that.

    Args:
        survival: At each edge (B, K), and 1 at time 0; straight between them.
        times: (B,)
        edges: (K,)
    """
    ends = torch.cat([edges.new_zeros(1), edges])
    curve = torch.cat([torch.ones_like(survival[:, :1]), survival], dim=1)
    place = torch.bucketize(times.contiguous(), ends, right=True).clamp(1, len(edges))
    low, high = ends[place - 1], ends[place]
    before, after = (curve.gather(1, which[:, None])[:, 0] for which in (place - 1, place))
    return before + (after - before) * ((times - low) / (high - low)).clamp(0, 1)


def shares_by_chance(chances: Tensor, observed: Tensor, bins: int) -> Tensor:
    """Return in which bin of 0..1 each patient's chance of surviving until their own time lies (B, bins).

    If a model is calibrated, as many patients are in each (Haider et al., JMLR 2020, "Effective ways to build
    and evaluate individual survival distributions"). Who was censored may still have the event at any lower
    chance, and is spread evenly over them.

    Args:
        chances: (B,)
        observed: 1 where the event came at that time (B,).
        bins: Of equal width.
    """
    lows = torch.arange(bins, dtype=chances.dtype) / bins
    spread = (chances[:, None] - lows).clamp(0, 1 / bins) / chances.clamp(min=1e-12)[:, None]
    own = torch.nn.functional.one_hot((chances * bins).long().clamp(0, bins - 1), bins).to(chances)
    return torch.where((observed[:, None] > 0) | (chances[:, None] <= 1e-12), own, spread)
