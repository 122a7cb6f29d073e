"""A hash of a site's numbers whose sum over the sites is the hash of their sum: so anybody can check a sum.

It is h(x) = a·x over polynomials modulo X^2048 + 1 and a prime near 2^128, whose multiplier `a` follows from
the job's digest (AES as in FrodoKEM). Two vectors of 64-bit numbers with one hash would give a short one that
is mapped to zero, as hard to find as in the worst lattices of that kind (Ajtai, STOC 1996; Lyubashevsky and
Micciancio, ICALP 2006). Random numbers behind a site's own hide these in the hash, as in the commitments of
Baum et al. (SCN 2018): as the prime is 3 modulo 8, all polynomials as short as theirs have an inverse
(Lyubashevsky and Seiler, Eurocrypt 2018). What that comes to in bits: docs/secure-aggregation.md.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

PRIME = 2**128 - 173
DEGREE = 2048
"""Of the polynomials, into which numbers are cut."""
BLIND = 3 * DEGREE
"""Random numbers behind a site's own; they have 1.3 times the entropy that a hash can hold, or more."""
BYTES = DEGREE * 16
"""Of a hash."""

_LIMBS, _OWN = 8, 4  # of 16 bits: of a coefficient of `a`, and of a number
_TOGETHER, _GROUPS = 4, 16  # polynomials whose products add up in float64, and are exact; groups at a time
_KIND = b"wardround sum hash v1\0"
_TWIST = np.exp(1j * np.pi * np.arange(DEGREE // 2) / DEGREE)  # makes a cyclic product one modulo X^n + 1
Complex = NDArray[np.complex128]


def blinds(sites: int) -> NDArray[np.uint64]:
    """Return random numbers (BLIND,), from the system, whose sum over the sites stays within 62 bits."""
    drawn = np.frombuffer(os.urandom(8 * BLIND), np.int64)
    return (drawn >> (2 + sites.bit_length())).view(np.uint64)


def hash_of(numbers: NDArray[np.uint64], job: str) -> bytes:
    """Return the hash of numbers (n,), read as signed ones.

    Args:
        numbers: A site's contribution to a sum, or a sum.
        job: Digest of the job.
    """
    seed = hashlib.sha256(_KIND + job.encode()).digest()
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
    total = np.zeros((_LIMBS + _OWN - 1, DEGREE), np.int64)
    step = _GROUPS * _TOGETHER * DEGREE
    signed = numbers.view(np.int64)
    for start in range(0, signed.size, step):
        part = signed[start : start + step]
        polynomials = -(-part.size // (_TOGETHER * DEGREE)) * _TOGETHER
        padded = np.zeros(polynomials * DEGREE, np.int64)
        padded[: part.size] = part
        drawn = stream.update(bytes(padded.size * _LIMBS * 2))
        theirs = np.frombuffer(drawn, np.int16).reshape(_LIMBS, polynomials, DEGREE)
        total += _products(theirs, padded.reshape(polynomials, DEGREE))
    found = (sum(int(limb) << (16 * place) for place, limb in enumerate(column)) for column in total.T)
    return _packed(found)


def added(hashes: Iterable[bytes]) -> bytes:
    """Return the sum of hashes, which is the hash of the sum."""
    totals = [0] * DEGREE
    for one in hashes:
        for place in range(DEGREE):
            totals[place] += int.from_bytes(one[16 * place : 16 * place + 16], "little")
    return _packed(totals)


def _packed(coefficients: Iterable[int]) -> bytes:
    return b"".join((one % PRIME).to_bytes(16, "little") for one in coefficients)


def _products(theirs: NDArray[np.int16], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sum of the products of polynomials (P, DEGREE), by limb.

    A limb of a product has 41 bits, and the transforms of four times four of them an error below 1/8.
    """
    first = [_forward(limb) for limb in theirs]
    second = [_forward(limb) for limb in _signed_limbs(own)]
    groups = len(own) // _TOGETHER
    found = np.zeros((_LIMBS + _OWN - 1, groups, DEGREE // 2), np.complex128)
    for place, their in enumerate(first):
        for more, mine in enumerate(second):
            found[place + more] += (their * mine).reshape(groups, _TOGETHER, -1).sum(axis=1)
    back = np.fft.ifft(found, axis=2) * np.conj(_TWIST)
    whole = np.rint(np.concatenate([back.real, back.imag], axis=2))
    total: NDArray[np.int64] = whole.astype(np.int64).sum(axis=1)
    return total


def _forward(limb: NDArray[np.integer]) -> Complex:
    half = DEGREE // 2
    return np.fft.fft((limb[:, :half] + 1j * limb[:, half:]) * _TWIST, axis=1)


def _signed_limbs(numbers: NDArray[np.int64]) -> Iterator[NDArray[np.integer]]:
    """Yield numbers as limbs in -2^15 to 2^15, the lowest first: small ones keep products exact."""
    rest = numbers
    for _ in range(_OWN - 1):
        low = rest.astype(np.int16)  # the lowest 16 bits, signed
        yield low
        rest = (rest >> 16) + (low < 0)
    yield rest
