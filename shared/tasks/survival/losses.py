"""The two losses of survival, and what is read from a network's output: plain functions of tensors.

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
