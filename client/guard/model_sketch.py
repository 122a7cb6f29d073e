"""A short, linear summary of a model, by which a site sees that two models are nearly the same.

A count sketch (Charikar, Chen, Farach-Colton 2002): each number is added to one of 64 buckets with a sign.
Bucket and sign come from a key of the site, so nobody else can find two models that are far apart and have
near sketches, or the other way round, better than by chance. The squared distance of two sketches is that of
the models, to about 18 % (its standard deviation).
"""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

BUCKETS = 64
KEY_BYTES = 16
_CHUNK = 1 << 16  # numbers handled at a time
_SIGN = 0x80  # bit of a byte of the key stream; the low six are the bucket


def sketch_of(vector: NDArray[np.float32], key: bytes) -> NDArray[np.float64]:
    """Return the sketch of a model, shape (BUCKETS,).

    Args:
        vector: The model, shape (n,).
        key: `KEY_BYTES` bytes, secret.
    """
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    sketch = np.zeros(BUCKETS)
    for begin in range(0, vector.size, _CHUNK):
        part = vector[begin : begin + _CHUNK].astype(np.float64)
        drawn = np.frombuffer(stream.update(bytes(part.size)), np.uint8)
        np.negative(part, out=part, where=drawn >= _SIGN)
        sketch += np.bincount(drawn & (BUCKETS - 1), part, BUCKETS)
    return sketch


def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the distance of two models over the norm of the longer one, from their sketches."""
    longest = max(float(np.linalg.norm(one)), float(np.linalg.norm(other)))
    return float(np.linalg.norm(one - other)) / longest if longest else 0.0
