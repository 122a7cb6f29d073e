"""What each player brings to a game whose value is known for any coalition (Shapley, 1953).

A value may cost a training: permutations end where the players that are left can bring hardly anything
(Ghorbani and Zou, Data Shapley, ICML 2019, algorithm 1).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

import numpy as np

Coalition = frozenset[str]
Value = Callable[[Coalition], float]
MOST_EXACT = 5
"""Players of whom all coalitions are asked: 32 for five."""


@dataclass(frozen=True)
class Brought:
    """An estimate for one player.

    Attributes:
        value: The estimate.
        error: Its standard error, of the permutations drawn or of the repetitions; None where it is exact.
    """

    value: float
    error: float | None = None


def leave_one_out(players: Sequence[str], value: Value) -> dict[str, float]:
    """Return what the coalition of all loses without each player."""
    everybody = frozenset(players)
    whole = value(everybody)
    return {player: whole - value(everybody - {player}) for player in players}


def exact(players: Sequence[str], value: Value) -> dict[str, float]:
    """Return the Shapley value of each player, from all coalitions.

    It is the mean of what a player adds to a coalition, over all orders in which the players may come.
    """
    number = len(players)
    found = {}
    for player in players:
        others, total = [one for one in players if one != player], 0.0
        for size in range(number):
            weight = 1 / (number * math.comb(number - 1, size))
            for some in combinations(others, size):
                total += weight * (value(frozenset({*some, player})) - value(frozenset(some)))
        found[player] = total
    return found


def truncated(
    players: Sequence[str], value: Value, permutations: int, seed: int, tolerance: float
) -> dict[str, Brought]:
    """Return estimates of the Shapley values, from some of the orders.

    Args:
        players: At least one.
        value: Of a coalition.
        permutations: Orders that are drawn.
        seed: They follow from it.
        tolerance: Share of all that the players bring together: once a coalition lacks less than it to the
            value of all, those who come later are taken to add nothing.
    """
    draw, everybody = np.random.default_rng(seed), frozenset(players)
    nothing, whole = value(frozenset()), value(everybody)
    near = tolerance * abs(whole - nothing)
    gains: dict[str, list[float]] = {player: [] for player in players}
    for _ in range(permutations):
        before, come = nothing, frozenset[str]()
        for at in draw.permutation(len(players)):
            come |= {players[at]}
            now = before if abs(whole - before) < near else value(come)
            gains[players[at]].append(now - before)
            before = now
    return {player: _mean(own) for player, own in gains.items()}


def repeated(found: Sequence[Mapping[str, Brought]]) -> dict[str, Brought]:
    """Return the means over repetitions with other seeds, with their standard errors.

    One repetition keeps the errors that it has.
    """
    if len(found) == 1:
        return dict(found[0])
    return {player: _mean([one[player].value for one in found]) for player in found[0]}


def added_up(players: Sequence[str], parts: Sequence[Mapping[str, Brought]]) -> dict[str, Brought]:
    """Return what each player brings to games that are played one after the other; in some not all play."""
    found = {}
    for player in players:
        own = [part[player] for part in parts if player in part]
        errors = [one.error for one in own if one.error is not None]
        error = math.hypot(*errors) if errors else None
        found[player] = Brought(math.fsum(one.value for one in own), error)
    return found


def _mean(values: Sequence[float]) -> Brought:
    if len(values) < 2:
        return Brought(values[0])
    return Brought(fmean(values), stdev(values) / math.sqrt(len(values)))
