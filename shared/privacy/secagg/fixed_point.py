"""Updates as integers modulo 2^64: their sum is exact, and does not depend on the order of its terms.

A value x of a site with weight w is sent as round(w · x · 2^f). The number f of fractional bits is the
largest for which the sum of all sites can't leave the signed 64 bits; it depends on the declared bounds and
the number of sites alone, so every site finds the same.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.limits import LARGEST_WEIGHT

LARGEST_VALUE = 2**16  # of a parameter, a statistic of batch norm or a loss
EXTRAS = (
    3  # numbers after the vector: the weight, the weighted loss, the weight of those who share their loss
)
_CHUNK = 1 << 15  # numbers handled at a time


@dataclass(frozen=True)
class Mean:
    """What the sum of a round says.

    Attributes:
        vector: Weighted mean of the updates, shape (n,).
        weight: Sum of the weights.
        loss: Weighted mean of the losses; NaN where no site shares its loss.
    """

    vector: NDArray[np.float32]
    weight: int
    loss: float


@dataclass(frozen=True)
class Codec:
    """Fixed-point numbers for a sum over at most `sites` sites.

    The mean's error is at most sites · step / (2 · sum of the weights), step = 2^-fraction_bits, besides the
    rounding to float32.
    """

    sites: int
    largest_weight: int = LARGEST_WEIGHT
    largest_value: int = LARGEST_VALUE

    @cached_property
    def fraction_bits(self) -> int:
        """The largest f with sites · (weight · value · 2^f + 1/2) < 2^63."""
        room = (2**63 - 1 - self.sites) // (self.sites * self.largest_weight * self.largest_value)
        if room < 1:
            raise SecureAggregationError(f"{self.sites} sites are too many for sums of 64 bits")
        return room.bit_length() - 1

    def encode(self, vector: NDArray[np.float32], weight: int, loss: float) -> NDArray[np.uint64]:
        """Return a site's contribution, shape (n + EXTRAS,).

        Args:
            vector: The site's model, shape (n,).
            weight: How much the site counts.
            loss: Its training loss; NaN where it does not share it.

        Raises:
            SecureAggregationError: A number is beyond what was declared, or not finite.
        """
        if not 1 <= weight <= self.largest_weight:
            raise SecureAggregationError(f"a weight of {weight} is not within 1 to {self.largest_weight}")
        largest = max(float(vector.max(initial=0.0)), -float(vector.min(initial=0.0)))
        if not largest <= self.largest_value:  # NaN is not
            raise SecureAggregationError(f"a number of the model is beyond {self.largest_value}")
        shared = 0 if np.isnan(loss) else weight
        weighted = shared and np.clip(loss, -self.largest_value, self.largest_value) * shared
        encoded = np.empty(vector.size + EXTRAS, dtype=np.int64)
        scale = float(weight << self.fraction_bits)  # a power of two times at most 20 bits: exact
        for begin in range(0, vector.size, _CHUNK):
            part = vector[begin : begin + _CHUNK]
            # 24 bits of the value times 20 of the weight: the product is exact, and is rounded once.
            product = np.multiply(part, scale, dtype=np.float64)
            encoded[begin : begin + part.size] = np.rint(product, out=product)
        encoded[vector.size :] = np.rint(np.ldexp([weight, weighted, shared], self.fraction_bits))
        return encoded.view(np.uint64)

    def decode(self, total: NDArray[np.uint64]) -> Mean:
        """Return the mean that a sum of contributions stands for.

        Raises:
            SecureAggregationError: The sum can't be one of at most `sites` contributions.
        """
        signed = total.view(np.int64)
        weight, loss, shared = (
            float(x) for x in np.ldexp(signed[-EXTRAS:].astype(float), -self.fraction_bits)
        )
        if not (
            weight.is_integer() and 1 <= weight <= self.sites * self.largest_weight and 0 <= shared <= weight
        ):
            raise SecureAggregationError("the sum makes no sense: a site sent something else than it should")
        scale = np.ldexp(1.0 / weight, -self.fraction_bits)
        vector = np.empty(total.size - EXTRAS, dtype=np.float32)
        for begin in range(0, vector.size, _CHUNK):
            part = signed[begin : min(begin + _CHUNK, vector.size)]
            vector[begin : begin + part.size] = part * scale
        if float(np.abs(vector).max(initial=0.0)) > self.largest_value:
            raise SecureAggregationError("the sum makes no sense: a site sent something else than it should")
        return Mean(vector, int(weight), loss / shared if shared else float("nan"))
