"""What noise for whole sites costs: one Gaussian mechanism a round, of which every site is a part.

Sites are drawn by a seed that everybody knows, so no chance amplifies the guarantee: the sample rate is 1.
"""

import math
from typing import TYPE_CHECKING

from shared.privacy.accounting import Steps, noise_for

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_FOR_COUNTS = 1.05  # factor on the noise of updates where the count of norms is paid for too


def site_steps(job: "JobSpec", rounds: int) -> Steps:
    """Return rounds of a job with the mechanism 'site-level', as an accountant takes them.

    Raises:
        AccountingError: No noise is enough for the job's epsilon.
    """
    noise = job.privacy.noise_multiplier
    if noise is None:
        assert job.privacy.epsilon is not None  # noqa: S101 (the job has one of the two)
        noise = noise_for(job.privacy.epsilon, job.privacy.delta, 1.0, job.job.rounds)
    return Steps(noise, 1.0, rounds)


def split_noise(noise_multiplier: float) -> tuple[float, float]:
    """Split the budget of a round between updates and the count of norms (Andrew et al. 2021, theorem 1).

    Two Gaussian mechanisms of z_u and 2 · s_b together are one of z where z^-2 = z_u^-2 + (2 · s_b)^-2: the
    count of ±1/2 has a sensitivity of 1/2.

    Returns:
        The noise multiplier of the updates, z_u, and the standard deviation of the noise on the count, s_b.
    """
    updates = noise_multiplier * _FOR_COUNTS
    return updates, 0.5 / math.sqrt(noise_multiplier**-2 - updates**-2)
