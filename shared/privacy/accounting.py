"""What Poisson-sampled Gaussian steps cost together, by Opacus's accountants.

RDP: Mironov, Talwar & Zhang 2019 (the sampled Gaussian mechanism), turned into (epsilon, delta) by Balle et
al. X
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from opacus.accountants import PRVAccountant, RDPAccountant
from opacus.accountants.analysis import rdp as renyi
from opacus.accountants.utils import get_noise_multiplier

from shared.errors import WardroundError

Accountant = Literal["rdp", "prv"]


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

    The cost grows with the number of different pairs of noise and sample rate, not with the number of steps.
    """
    counts: Counter[tuple[float, float]] = Counter()
    for stretch in history:
        counts[stretch.noise_multiplier, stretch.sample_rate] += stretch.steps
    if not counts.total():
        return 0.0
    with warnings.catch_warnings():
        # The bound holds when the best order is the largest one tried; it could only be tighter.
        warnings.filterwarnings("ignore", "Optimal order")
        if accountant == "prv":
            prv = PRVAccountant()
            prv.history = [(noise, rate, steps) for (noise, rate), steps in counts.items()]
            return max(float(prv.get_epsilon(delta)), 0.0)
        curves = [_step_curve(*pair) * steps for pair, steps in counts.items()]
        return _epsilon(np.sum(curves, axis=0), delta)


def _epsilon(curve: NDArray[np.float64], delta: float) -> float:
    epsilon, _ = renyi.get_privacy_spent(orders=RDPAccountant.DEFAULT_ALPHAS, rdp=curve, delta=delta)
    return max(float(epsilon), 0.0)


@lru_cache(maxsize=4096)
def _step_curve(noise_multiplier: float, sample_rate: float) -> NDArray[np.float64]:
    """Return one step's Rényi divergence at each of Opacus's orders, (orders,); it takes 10 to 30 ms."""
    return np.asarray(
        renyi.compute_rdp(
            q=sample_rate,
            noise_multiplier=noise_multiplier,
            steps=1,
            orders=RDPAccountant.DEFAULT_ALPHAS,
        )
    )


@lru_cache(maxsize=256)
def noise_for(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Return a noise multiplier with which so many steps cost at most `epsilon`, and less by 0.01 at most.

    The RDP accountant is asked.

    Raises:
        AccountingError: No noise is enough.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Optimal order")
        least = _epsilon(np.zeros(len(RDPAccountant.DEFAULT_ALPHAS)), delta)
        if epsilon <= least:  # no need to search up to a noise of a million, which takes minutes
            raise AccountingError(
                f"no noise gives epsilon {epsilon:g} at delta {delta:g}, only more than {least:.3g}",
                where="[privacy] epsilon",
                remedy="Raise epsilon or delta.",
            )
        return float(
            get_noise_multiplier(
                target_epsilon=epsilon,
                target_delta=delta,
                sample_rate=sample_rate,
                steps=steps,
                accountant="rdp",
            )
        )


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
