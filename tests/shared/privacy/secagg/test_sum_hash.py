"""The hash of a sum is the sum of the hashes, and of nothing else."""

import numpy as np
import pytest

from shared.privacy.secagg.sum_hash import BLIND, BYTES, DEGREE, PRIME, added, blinds, hash_of

ENDS = np.array([-(2**62), 2**62 - 1, 0, 1, -1], np.int64)


def numbers(seed: int, size: int = 3 * DEGREE + 5) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(-(2**61), 2**61, size)
    drawn[: len(ENDS)] = ENDS // 2
    return drawn.view(np.uint64)


def coefficients(found: bytes) -> list[int]:
    return [int.from_bytes(found[16 * place : 16 * place + 16], "little") for place in range(DEGREE)]


def test_it_adds_up_modulo_the_wrap_of_64_bits() -> None:
    parts = [numbers(seed) for seed in range(3)]
    hashes = [hash_of(one, "job") for one in parts]
    assert {len(one) for one in hashes} == {BYTES}
    assert added(hashes) == hash_of(np.sum(parts, axis=0, dtype=np.uint64), "job")


def test_a_product_is_that_of_polynomials() -> None:
    """X^1 times the multiplier turns its coefficients by one, and the last comes back negative."""
    one, turned = np.zeros((2, DEGREE), np.int64)
    one[0], turned[1] = 2**62 - 1, 2**62 - 1
    first, second = (coefficients(hash_of(each.view(np.uint64), "job")) for each in (one, turned))
    assert second[1:] == first[:-1]
    assert second[0] == PRIME - first[-1]
    unit = coefficients(hash_of((one > 0).astype(np.uint64), "job"))
    assert first == [(each * (2**62 - 1)) % PRIME for each in unit]


@pytest.mark.parametrize("place", [0, DEGREE, 3 * DEGREE + 4])
def test_every_number_counts_and_every_job_has_its_own(place: int) -> None:
    true = numbers(0)
    other = true.copy()
    other[place] += np.uint64(1)
    assert hash_of(other, "job") != hash_of(true, "job") != hash_of(true, "another")


def test_numbers_are_hidden_by_random_ones_whose_sum_fits() -> None:
    drawn = blinds(1000).view(np.int64)
    assert len(drawn) == BLIND
    assert int(np.abs(drawn).max()) * 1000 < 2**62
    assert np.unique(drawn).size == BLIND
    assert (blinds(3) != blinds(3)).any()
