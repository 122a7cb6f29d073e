"""Intervals of a bootstrap over patients: as wide as theory has them, and skewed where a figure is."""

import numpy as np
import pytest
from scipy.stats import bootstrap as scipys
from scipy.stats import norm, t

from shared.metrics.bootstrap import Bootstrap


def means(own: Bootstrap, values: np.ndarray) -> np.ndarray:
    """Return the mean over the patients in each draw."""
    return own.draws @ values / own.draws.sum(axis=1)


def test_a_mean_has_students_interval():
    values = np.random.default_rng(0).normal(3, 2, 12)
    own = Bootstrap(12, 4000, 1)
    half = t.ppf(0.975, 11) * values.std(ddof=1) / np.sqrt(12)
    low, high = own.interval(means(own, values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.25 * half)


def test_of_many_patients_it_is_scipys_bca():
    values = np.random.default_rng(0).lognormal(0, 1, 150)
    own = Bootstrap(150, 4000, 1)
    interval = own.interval(means(own, values))
    theirs = scipys((values,), np.mean, n_resamples=4000, method="BCa", rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert interval == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)
    plain = np.percentile(means(own, values)[1:4001], (2.5, 97.5))
    assert interval[1] > plain[1]  # a long tail above


def test_patients_are_left_out_in_groups_where_they_are_many():
    own = Bootstrap(1000, 10, 1)
    assert own.draws.shape == (211, 1000)
    assert (own.draws[0] == 1).all()
    assert (own.draws[1:11].sum(axis=1) == 1000).all()
    assert (own.draws[11:].sum(axis=1) == 995).all()
    assert (own.draws[11:] == 0).sum(axis=0).tolist() == [1] * 1000


def test_what_was_always_right_is_not_certain():
    own = Bootstrap(20, 50, 1)
    low, high = own.interval(np.ones(len(own.draws)))
    assert (low, high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)


def test_what_is_undefined_has_no_interval():
    own = Bootstrap(20, 50, 1)
    assert own.interval(np.full(len(own.draws), np.nan)) is None
    assert Bootstrap(20, 0, 1).interval(np.ones(1)) is None


def test_a_mean_of_few_large_values_may_lie_far_above():
    values = np.random.default_rng(2).lognormal(0, 1, 15)
    parts = np.stack([values, np.ones(15)], axis=1)
    own = Bootstrap(15, 2000, 1)
    low, high = own.interval_of_mean(values.mean(), parts)
    bca_low, bca_high = own.interval(means(own, values))
    assert high - values.mean() > 1.2 * (bca_high - values.mean())
    assert 0 < low < bca_low
    # each draw by itself, as Efron writes it
    draws = [np.repeat(values, counts) for counts in own.draws[1:2001]]
    away = [(drawn.mean() - values.mean()) / drawn.std() for drawn in draws]
    wider = np.sqrt(15 / 14) * t.ppf(0.975, 14) / norm.ppf(0.975)
    ends = values.mean() - wider * values.std() * np.quantile(away, [0.975, 0.025])
    assert (low, high) == pytest.approx(ends, rel=1e-9)


def test_a_mean_of_many_images_of_a_patient_knows_that_they_are_one():
    rng = np.random.default_rng(5)
    of_patient, images = rng.exponential(1, 30), rng.integers(1, 6, 30)
    own, once = Bootstrap(30, 1000, 1), np.ones(30)
    mean = (of_patient * images).sum() / images.sum()
    in_years = own.interval_of_mean(mean, np.stack([of_patient * images, images], axis=1))
    in_days = own.interval_of_mean(365 * mean, np.stack([of_patient * images, images], axis=1))
    assert in_days == pytest.approx([365 * end for end in in_years])
    tenfold = own.interval_of_mean(mean, np.stack([of_patient * images * 10, images * 10], axis=1))
    assert tenfold == pytest.approx(in_years)  # as many patients, with more images each
    assert own.interval_of_mean(1.0, np.stack([once, once], axis=1)) is None  # no draw changes it
    assert own.interval_of_mean(0.0, np.stack([0 * once, once], axis=1)) is None


def test_a_share_that_no_draw_moves_from_zero_has_no_interval_of_no_width():
    own = Bootstrap(11, 200, 1)
    assert own.interval(means(own, np.zeros(11))) is None
    low, high = own.interval(means(own, np.ones(11)))
    assert (low, high) == (pytest.approx(0.025 ** (1 / 11)), 1.0)
