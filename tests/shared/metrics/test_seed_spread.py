"""What several seeds say together."""

import numpy as np
import pytest
from scipy.stats import t

from shared.metrics.seed_spread import Spread


def test_seeds_alone_have_students_interval():
    values = [0.7, 0.8, 0.75, 0.72, 0.78]
    found = Spread.of(values, None, 1)
    half = t.ppf(0.975, 4) * np.std(values, ddof=1) / np.sqrt(5)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.005)


def test_one_seed_has_the_interval_of_the_patients():
    draws = np.random.default_rng(0).normal(0.8, 0.05, 1000)
    found = Spread.of([0.8], draws, 1)
    assert (found.low, found.high) == pytest.approx(np.percentile(draws, (2.5, 97.5)), abs=1e-3)
    assert np.isnan(found.deviation)


def test_seeds_and_patients_add_up():
    draws = np.random.default_rng(0).normal(0.75, 0.05, 1000)
    values = [0.7, 0.8, 0.75, 0.72, 0.78]
    alone, both = Spread.of(values, None, 1), Spread.of(values, draws, 1)
    assert both.high - both.low > max(alone.high - alone.low, 3.9 * 0.05)


def test_two_seeds_say_too_little():
    assert np.isnan(Spread.of([0.7, 0.8], np.full(1000, 0.75), 1).low)
