"""What each hospital brought: the game played with several seeds."""

from collections.abc import Sequence
from functools import partial
from statistics import fmean

from simulate.contribution.game import Game
from simulate.contribution.report import Contribution
from simulate.contribution.shapley import (
    MOST_EXACT,
    Brought,
    Coalition,
    exact,
    leave_one_out,
    repeated,
    truncated,
)

USUAL_ORDERS = 20


def contribution(
    name: str, game: Game, seeds: Sequence[int], permutations: int | None, tolerance: float
) -> Contribution:
    """Estimate what each site brought.

    Args:
        name: Of the job.
        game: Its federation's.
        seeds: Of the trainings, and of the orders that are drawn.
        permutations: Orders for each seed; None asks all coalitions of few sites, else `USUAL_ORDERS`.
        tolerance: See `truncated`.

    Raises:
        WardroundError: A training could not go on.
    """
    players = game.players()
    if permutations is None:
        permutations = 0 if len(players) <= MOST_EXACT else USUAL_ORDERS
    shapley, left_out, asked = [], [], set[tuple[Coalition, int]]()

    def value(coalition: Coalition, seed: int) -> float:
        asked.add((coalition, seed))
        return game.value(coalition, seed)

    for seed in seeds:
        of_seed = partial(value, seed=seed)
        if permutations:
            shapley.append(truncated(players, of_seed, permutations, seed, tolerance))
        else:
            shapley.append({site: Brought(own) for site, own in exact(players, of_seed).items()})
        left_out.append({site: Brought(own) for site, own in leave_one_out(players, of_seed).items()})
    everybody = frozenset(players)
    return Contribution(
        name,
        game.metric,
        fmean(game.value(frozenset(), seed) for seed in seeds),
        fmean(game.value(everybody, seed) for seed in seeds),
        repeated(shapley),
        repeated(left_out),
        list(seeds),
        permutations,
        len(asked),
    )
