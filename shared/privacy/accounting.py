"""What Poisson-sampled Gaussian steps cost together.

RDP: Mironov, Talwar & Zhang 2019 (the sampled Gaussian mechanism), turned into (epsilon, delta) by Balle et
al. 2020 (`shared/privacy/renyi.py`). PRV: Gopi, Lee & Wutschitz 2021, as Opacus has it.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from shared.errors import WardroundError
from shared.privacy.options import LARGEST_DELTA

Accountant = Literal["rdp", "prv"]
_LEAST_NOISE = 0.05  # below, a step tells everything anyway
_MOST_NOISE = 1e9
_EXACT = 1.001  # the noise that is found is at most this multiple of what is needed


class AccountingError(WardroundError):
    """A promise for which no noise can be found."""


@dataclass(frozen=True)
class Steps:
    """A stretch of equal steps.

    Attributes:
        noise_multiplier: Standard deviation of the noise over the clipping norm.
        sample_rate: Probability with which a unit takes part in a step, in (0, 1].
        steps: Their number.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int


def epsilon_of(history: Sequence[Steps], delta: float, accountant: Accountant = "rdp") -> float:
    """Return the epsilon, at `delta`, of all steps of a history together; their order does not matter.

    It takes time by the number of different pairs of noise and sample rate, not by the number of steps.

    Raises:
        AccountingError: Delta is too large to promise anything.
    """
    counts: Counter[tuple[float, float]] = Counter()
    for stretch in history:
        counts[stretch.noise_multiplier, stretch.sample_rate] += stretch.steps
    if not 0 < delta <= LARGEST_DELTA:
        problem = f"{delta:g} promises nothing: it must be above 0 and at most {LARGEST_DELTA:g}"
        raise AccountingError(problem, where="delta")
    if not counts.total():
        return 0.0
    # Opacus takes a fifth of the start of a process, and most never count a budget.
    from opacus.accountants import PRVAccountant  # noqa: PLC0415

    from shared.privacy.renyi import epsilon_at, step_curve  # noqa: PLC0415

    with warnings.catch_warnings():
        # The bound holds when the best order is the largest one tried; it could only be tighter.
        warnings.filterwarnings("ignore", "Optimal order")
        if accountant == "prv":
            prv = PRVAccountant()
            prv.history = [(noise, rate, steps) for (noise, rate), steps in counts.items()]
            return max(float(prv.get_epsilon(delta)), 0.0)
        curves = [step_curve(*pair) * steps for pair, steps in counts.items()]
        return epsilon_at(np.sum(curves, axis=0), delta)


@lru_cache(maxsize=256)
def noise_for(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Return a noise multiplier with which the steps cost at most `epsilon`, and little less.

    Raises:
        AccountingError: Delta is too large to promise anything, or no noise below a billion is enough.
    """

    def cost(noise: float) -> float:
        return epsilon_of([Steps(noise, sample_rate, steps)], delta)

    high = 1.0
    while cost(high) > epsilon:
        high *= 2
        if high > _MOST_NOISE:
            problem = f"{epsilon:g} at delta {delta:g} would take more than a billion times the noise of 1"
            raise AccountingError(problem, where="[privacy] epsilon", remedy="Raise epsilon or delta.")
    low = high / 2
    while low > _LEAST_NOISE and cost(low) <= epsilon:
        low, high = low / 2, low
    while high / low > _EXACT:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if cost(middle) <= epsilon else (middle, high)
    return high


def rounds_within(
    history: Sequence[Steps], steps: Steps, *, epsilon: float, delta: float, accountant: Accountant, most: int
) -> int:
    """Return how many rounds of `steps` can follow a history before `epsilon` is passed, `most` at most."""
    few, many = 0, most + 1
    while many - few > 1:
        rounds = (few + many) // 2
        stretch = Steps(steps.noise_multiplier, steps.sample_rate, steps.steps * rounds)
        fits = epsilon_of([*history, stretch], delta, accountant) <= epsilon
        few, many = (rounds, many) if fits else (few, rounds)
    return few
