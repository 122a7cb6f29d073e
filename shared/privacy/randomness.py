"""Where the randomness of private training comes from: a seed in a rehearsal, secrets in a hospital.

The guarantee of differential privacy holds against whoever does not know the noise, nor who was drawn into
which step. The coordinator knows the job's seed: in a hospital nothing of it may be used.
"""

import math
import os
from typing import Protocol

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from shared.seeds import seed_of

_BITS = 53  # of a double's fraction
_CHUNK = 2**16  # normals at a time: they stay in the cache of the processor


class Randomness(Protocol):
    """What private training draws."""

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Return numbers (count,) from [0, 1)."""

    def normal(self, count: int) -> NDArray[np.float32]:
        """Return numbers (count,) from the standard normal distribution."""

    def seed(self) -> int:
        """Return a seed for what a network draws itself (dropout), 63 bits."""


class SeededRandomness:
    """For rehearsals: the same parts give the same numbers. Whoever knows the seed can subtract the noise.

    Draws and noise are two streams, so that the noise does not depend on how many units there are.

    Args:
        parts: What the seed is derived from: the job's seed, the site, the round.
    """

    def __init__(self, *parts: str | int) -> None:
        self._draws = np.random.default_rng(seed_of(*parts, "private draws"))
        self._noise = np.random.default_rng(seed_of(*parts, "private noise"))

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Return numbers (count,) from [0, 1)."""
        return self._draws.random(count)

    def normal(self, count: int) -> NDArray[np.float32]:
        """Return numbers (count,) from the standard normal distribution."""
        return self._noise.standard_normal(count, dtype=np.float32)

    def seed(self) -> int:
        """Return a seed, 63 bits."""
        return int(self._draws.integers(2**63))


class SecretRandomness:
    """For hospitals: AES-256 in counter mode under a key from the operating system, which is never kept.

    Normals come from Box and Muller (1958) in double precision. Each is the sum of four, halved, so that the
    digits of a number do not tell which one was added (Holohan and Braghin 2021, section 5.1).
    """

    def __init__(self) -> None:
        self._stream = Cipher(algorithms.AES256(os.urandom(32)), modes.CTR(os.urandom(16))).encryptor()

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Return numbers (count,) from [0, 1)."""
        return self._uniform(count).numpy()

    def normal(self, count: int) -> NDArray[np.float32]:
        """Return numbers (count,) from the standard normal distribution."""
        normals = torch.empty(count)
        for chunk in normals.split(_CHUNK):
            four = self._normal(4 * (chunk.numel() + chunk.numel() % 2)).view(4, -1)
            chunk.copy_(four.sum(0)[: chunk.numel()] / 2)
        return normals.numpy()

    def seed(self) -> int:
        """Return a seed, 63 bits."""
        return int(self._integers(1)) >> 1 & (2**63 - 1)

    def _normal(self, count: int) -> torch.Tensor:
        radius, angle = self._uniform(count).view(2, -1)
        radius = (-2 * torch.log1p(-radius)).sqrt()
        angle *= 2 * math.pi
        return torch.cat([radius * angle.cos(), radius * angle.sin()])

    def _uniform(self, count: int) -> torch.Tensor:
        return (self._integers(count) & (2**_BITS - 1)).double() * 2.0**-_BITS

    def _integers(self, count: int) -> torch.Tensor:
        stream = bytearray(self._stream.update(bytes(8 * count)))
        return torch.frombuffer(stream, dtype=torch.int64) if count else torch.empty(0, dtype=torch.int64)
