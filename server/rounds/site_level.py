"""Differential privacy for whole sites, by the coordinator (McMahan et al., ICLR 2018).

Each site's update is clipped to a norm as it arrives, and the mean gets Gaussian noise before a strategy
makes anything of it. Two runs are neighbours if one of them leaves what one site sent out of every sum, and
still divides by the same number of sites: with n sites in a round that moves the mean by norm / n at most,
and the count of short updates, each less 1/2, by 1/2.

Flower's `DifferentialPrivacyServerSide*` wrappers are not used: they hold all updates of a round at once,
draw from NumPy's global generator (neither of the run's seed nor secret enough for a guarantee), keep no
state over a restart, and by default noise the count for multipliers below sites / 10 only.
"""

import math

import numpy as np
from numpy.typing import NDArray

from shared.job.schema import JobSpec
from shared.privacy.randomness import Randomness, SecretRandomness, SeededRandomness
from shared.privacy.site_noise import site_steps, split_noise

_QUANTILE = 0.5  # the norm goes to the median
_RATE = 0.2  # of its steps; both as in Andrew et al. 2021
_NORM = "clipping_norm"


class SiteLevel:
    """Clips, adds noise, and lets the norm follow the median of the updates' norms where the job says so.

    Args:
        job: With the mechanism 'site-level'.
        rehearsal: Take the noise from the job's seed, so that it repeats. Otherwise it is secret, and a
            round that is repeated after a restart draws anew: the same noise on two means would show their
            difference.
    """

    def __init__(self, job: JobSpec, *, rehearsal: bool) -> None:
        privacy = job.privacy
        self._seed = job.job.seed if rehearsal else None
        self._noise = site_steps(job, 1).noise_multiplier
        self._count_deviation: float | None = None
        if privacy.adaptive_clipping:
            self._noise, self._count_deviation = split_noise(self._noise)
        self.norm = float(np.float32(privacy.max_update_norm))
        self._start: NDArray[np.float32] = np.zeros(0, np.float32)
        self._below = 0  # sites of this round whose update was no longer than the norm

    def begin(self, start: NDArray[np.float32]) -> None:
        """Begin a round.

        Args:
            start: The model that the sites get, shape (n,).
        """
        self._start = start
        self._below = 0

    def clip(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a site's model with its update cut to the norm, shape (n,)."""
        update = vector.astype(np.float64) - self._start
        length = float(np.linalg.norm(update))
        if length <= self.norm:
            self._below += 1
            return vector
        return (self._start + update * (self.norm / length)).astype(np.float32)

    def noised(self, mean: NDArray[np.float32], sites: int, round_: int) -> NDArray[np.float32]:
        """Return the mean with noise, and set the norm of the next round.

        Args:
            mean: Of the clipped models, shape (n,).
            sites: How many they were.
            round_: Seeds a rehearsal's noise.
        """
        randomness: Randomness = SecretRandomness()
        if self._seed is not None:
            randomness = SeededRandomness(self._seed, "site-level", round_)
        deviation = self._noise * self.norm / sites
        result = (mean + deviation * randomness.normal(mean.size).astype(np.float64)).astype(np.float32)
        if self._count_deviation is not None:
            count = self._below - sites / 2 + self._count_deviation * float(randomness.normal(1)[0])
            grown = self.norm * math.exp(-_RATE * (count / sites + 0.5 - _QUANTILE))
            self.norm = float(np.float32(grown))  # as the checkpoint has it
        return result

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Return what must survive a restart: the norm."""
        return {_NORM: np.array([self.norm], dtype=np.float32)}

    def restore(self, state: dict[str, NDArray[np.float32]]) -> None:
        """Take the norm of an earlier process out of the state."""
        if _NORM in state:
            self.norm = float(state.pop(_NORM)[0])
