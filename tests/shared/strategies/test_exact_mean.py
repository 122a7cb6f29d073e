"""The running mean does not depend on the order of its terms, nor does its memory on their number."""

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.strategies.exact_mean import ExactMean

values = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
terms = st.lists(
    st.tuples(st.lists(values, min_size=3, max_size=3), st.integers(1, 10**6)), min_size=1, max_size=12
)


def mean_of(pairs: list[tuple[list[float], int]]) -> np.ndarray:
    mean = ExactMean(3)
    for vector, weight in pairs:
        mean.add(np.array(vector, dtype=np.float32), weight)
    return mean.mean()


@given(terms, st.randoms(use_true_random=False))
def test_any_order_gives_the_same_bits(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert mean_of(pairs).tobytes() == mean_of(shuffled).tobytes()


@given(terms)
def test_it_is_the_weighted_mean(pairs):
    total = sum(weight for _, weight in pairs)
    for index, found in enumerate(mean_of(pairs)):
        exact = sum(Fraction(np.float32(vector[index]).item()) * weight for vector, weight in pairs) / total
        assert abs(found - float(exact)) <= 2**-45 + abs(float(exact)) * 2**-23


def test_equal_models_stay_as_they_are_bit_for_bit():
    vector = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    mean = ExactMean(1000)
    for weight in (3, 17, 1000):
        mean.add(vector, weight)
    assert mean.mean().tobytes() == vector.tobytes()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_a_number_out_of_range_is_refused_and_changes_nothing(bad):
    mean = ExactMean(2)
    mean.add(np.array([1.0, 2.0], dtype=np.float32), 1)
    with pytest.raises(ValueError, match="out of range"):
        mean.add(np.array([1.0, bad], dtype=np.float32), 1)
    assert mean.mean().tolist() == [1.0, 2.0]


def test_the_largest_terms_allowed_do_not_overflow():
    mean = ExactMean(1)
    largest = np.array([2.0**28], dtype=np.float32)
    for _ in range(2**14):
        mean.add(largest, 2**20)
    assert mean.mean()[0] == 2.0**28
    with pytest.raises(ValueError, match="number of terms"):
        mean.add(largest, 1)


def test_the_mean_takes_the_place_of_the_sums_and_no_more_memory():
    """Of sizes around the stretches, and where sums are split."""
    generator = np.random.default_rng(0)
    for size in (1, 2, 3, 2**14 - 1, 2**14 + 1, 40_001):
        vectors = generator.normal(size=(3, size)).astype(np.float32)
        vectors[:, -1] = 2.0**20
        mean = ExactMean(size)
        for vector in vectors:
            mean.add(vector, 7)
        expected = (vectors.astype(np.float64).sum(0) / 3).astype(np.float32)
        tracemalloc.start()
        found = mean.mean()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert np.allclose(found, expected, rtol=1e-6, atol=2**-40)
        assert found[-1] == 2.0**20
        assert peak < 2**20
        with pytest.raises(ValueError, match="mean of nothing"):
            mean.mean()


def peak_bytes(sites: int, size: int = 1_000_000) -> int:
    generator = np.random.default_rng(0)
    tracemalloc.start()
    mean = ExactMean(size)
    for _ in range(sites):
        mean.add(generator.random(size, dtype=np.float32), 10)
    mean.mean()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_sites():
    assert peak_bytes(64) <= peak_bytes(4) * 1.01


def test_a_sum_takes_two_copies_of_a_model_whose_numbers_are_small():
    size = 1_000_000
    assert peak_bytes(4, size) < 4.5 * 4 * size  # the sum, a term, and their mean


def test_a_sum_that_outgrows_one_integer_goes_on_in_two():
    generator = np.random.default_rng(0)
    sizes = [(0.1, 3), (10.0, 500), (1e4, 7), (1e8, 2**20), (1e-3, 1), (0.5, 9)]
    pairs = [(generator.normal(0, scale, 3).astype(np.float32).tolist(), n) for scale, n in sizes]
    for until in range(1, len(pairs) + 1):
        some = pairs[:until]
        found, total = mean_of(some), sum(weight for _, weight in some)
        assert found.tobytes() == mean_of(some[::-1]).tobytes()
        for index in range(3):
            exact = sum(Fraction(vector[index]) * weight for vector, weight in some) / total
            assert found[index] == np.float32(float(exact))
