"""Intervals over the folds of a cross-validation hold the truth, where the usual ones are too narrow."""

import numpy as np
import pytest

from shared.metrics.resampled_t import Resampled


def test_it_is_the_equation_of_nadeau_and_bengio():
    found = Resampled.of([0.7, 0.8, 0.9], 3)
    assert found.mean == pytest.approx(0.8)
    assert found.high - found.mean == pytest.approx(4.302653 * 0.1 * (1 / 3 + 1 / 2) ** 0.5, rel=1e-5)


def test_one_fold_has_no_interval():
    assert np.isnan([Resampled.of([0.5], 5).low, Resampled.of([0.5], 5).p]).all()


def test_no_difference_anywhere_is_no_finding():
    assert Resampled.of([0.0] * 5, 5).p == 1


def test_where_two_models_are_equal_few_comparisons_say_otherwise():
    """Ten draws of five folds of the same patients: fifty differences that hang together.

    The usual t-test takes them for independent and finds something in far more than 5 %.
    """
    rng, corrected, usual = np.random.default_rng(0), 0, 0
    for _ in range(150):
        patients = rng.normal(0, 1, 100)  # by how much one model is better at each
        values = []
        for _ in range(10):
            order = rng.permutation(100).reshape(5, 20)
            values += [patients[fold].mean() + rng.normal(0, 0.1) for fold in order]
        corrected += Resampled.of(values, 5).p < 0.05
        mean, error = np.mean(values), np.std(values, ddof=1) / len(values) ** 0.5
        usual += abs(mean) / error > 2.01
    assert corrected / 150 <= 0.08
    assert usual / 150 > 0.3
