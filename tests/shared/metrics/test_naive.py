"""What is reached without a look at an image, held against scikit-learn on the same labels and answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from shared.metrics.intervals import of_auroc, of_mean, wilson
from shared.metrics.naive_answers import auroc_of_groups, constant_answer, site_alone

COUNTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=5)


def spread(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return site and class of each image."""
    sites, classes = np.indices(counts.shape)
    repeats = counts.astype(int).ravel()
    return np.repeat(sites.ravel(), repeats), np.repeat(classes.ravel(), repeats)


@given(COUNTS, COUNTS)
def test_the_site_alone_is_a_classifier_that_knows_nothing_else(train, test):
    length = min(len(train), len(test))
    train, test = np.array(train[:length], float), np.array(test[:length], float)
    site, truth = spread(test)
    if not len(truth) or not train.sum():
        return
    shares = np.array([row / row.sum() if row.sum() else train.sum(0) / train.sum() for row in train])
    prior = np.maximum(train.sum(0) / train.sum(), 1e-12)
    found = site_alone(train, test, [0, 1, 2])
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, shares[site].argmax(1)))
    lifted = (shares[site] / prior).argmax(1)
    expected = np.mean([(lifted[truth == k] == k).mean() for k in np.unique(truth)])
    assert found["balanced_accuracy"] == pytest.approx(expected)
    aurocs = [
        roc_auc_score(truth == k, shares[site][:, k]) for k in range(3) if 0 < (truth == k).sum() < len(truth)
    ]
    assert found["auroc"] == pytest.approx(np.mean(aurocs) if aurocs else np.nan, nan_ok=True)


def test_one_answer_for_all_is_the_class_that_training_has_most_of():
    train, test = np.array([[5.0, 1.0], [5.0, 2.0]]), np.array([[1.0, 3.0], [1.0, 0.0]])
    found = constant_answer(train, test)
    truth = spread(test)[1]
    assert found["accuracy"] == accuracy_score(truth, np.zeros_like(truth)) == 0.4
    assert found["balanced_accuracy"] == balanced_accuracy_score(truth, np.zeros_like(truth)) == 0.5
    assert found["auroc"] == 0.5


def test_one_class_in_the_test_makes_a_perfect_constant_and_no_auroc():
    found = constant_answer(np.array([[5.0, 1.0]]), np.array([[4.0, 0.0]]))
    assert found["accuracy"] == found["balanced_accuracy"] == 1.0
    assert np.isnan(found["auroc"])
    assert np.isnan(auroc_of_groups(np.array([3.0]), np.array([0.0]), np.array([0.5])))


@pytest.mark.parametrize(("positives", "negatives", "share"), [(15, 40, 0.7), (60, 60, 0.8)])
def test_intervals_from_counts_hold_what_they_say(positives, negatives, share):
    generator = np.random.default_rng(0)
    shift, truth = 1.0, np.repeat([1, 0], [positives, negatives])
    true = roc_auc_score(np.repeat([1, 0], 5000), generator.normal(np.repeat([shift, 0], 5000)))
    held = {"auroc": 0, "share": 0, "mean": 0}
    for _ in range(400):
        auroc = roc_auc_score(truth, generator.normal(truth * shift))
        low, high = of_auroc(auroc, positives, negatives)
        held["auroc"] += low <= true <= high
        right = generator.binomial(positives, share), generator.binomial(negatives, share)
        low, high = wilson(right[1], negatives)
        held["share"] += low <= share <= high
        low, high = of_mean([(right[0] / positives, positives), (right[1] / negatives, negatives)])
        held["mean"] += low <= share <= high
    assert all(0.91 <= count / 400 <= 0.995 for count in held.values()), held
