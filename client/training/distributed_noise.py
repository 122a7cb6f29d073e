"""What distributed noise needs of the numbers that carry it.

Each site's share is rounded before the shares are added up: to float32, and to the grid of secure
aggregation. Where a share spans many steps of the grid, the sum of the rounded shares is the rounded sum but
for independent dither (docs/secure-aggregation.md); where it spans a few, nothing is proven.
"""

import numpy as np
from numpy.typing import NDArray

from client.training.phases import schedule_factor
from client.training.private_plan import noise_share
from shared.job.schema import JobSpec
from shared.job_parts import phases_of
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.fixed_point import Codec

_LEAST_STEPS = 32.0  # of the grid that the standard deviation of a site's share spans


def share_deviation(job: JobSpec, round_: int) -> float:
    """Return the standard deviation of the noise in a number of one site's update, where it is least."""
    [training] = phases_of(job).values()  # distributed noise is for one phase
    rate = training.learning_rate * schedule_factor(training, job.job.rounds, round_ - 1)
    assert job.privacy.noise_multiplier is not None  # noqa: S101 (distributed noise needs it)
    whole = job.privacy.noise_multiplier * job.privacy.max_grad_norm / training.batch_size
    slowest = min(factor for factor in (1.0, *job.training.rates.values()) if factor)
    return rate * slowest * whole * noise_share(job)


def check_resolution(job: JobSpec, round_: int, vector: NDArray[np.float32], codec: Codec) -> None:
    """Check that rounding is fine against a site's share of the noise.

    Args:
        job: With distributed noise.
        round_: Sets the learning rate.
        vector: The global model, shape (n,); what is checked depends on no patient.
        codec: Of the round.

    Raises:
        SecureAggregationError: It is not.
    """
    largest = float(np.abs(vector).max(initial=1.0))
    grid = max(2.0**-codec.fraction_bits, float(np.spacing(np.float32(largest))))
    if share_deviation(job, round_) < _LEAST_STEPS * grid:
        raise SecureAggregationError(
            "a site's share of the noise would be lost in the rounding; take a higher learning rate, smaller "
            "batches or noise = 'local'"
        )
