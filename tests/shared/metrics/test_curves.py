"""AUROC and average precision from few bins, against the exact figures of the same scores."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from shared.metrics.curves import LARGEST_EDGE, Curves, bins_for, first_edges


def binned(scores, truth, edges) -> Curves:
    """Count scores (N, K) and truth (N, K) in the bins of the edges."""
    counts = np.zeros((2, len(edges), edges.shape[1] + 1), np.int64)
    for k, row in enumerate(edges):
        bins = np.searchsorted(row, scores[:, k], side="right")
        np.add.at(counts, (1 - truth[:, k], k, bins), 1)
    return Curves(edges, counts[0], counts[1])


def study(images: int, seed: int, shares=(0.025, 0.05, 0.1, 0.15, 0.2, 0.2, 0.275)):
    """Draw scores (N, K), as a trained network gives them to common and rare classes, and truth (N, K)."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(shares)), np.round(np.array(shares) * images).astype(int))
    truth = np.eye(len(shares), dtype=np.int64)[draw.permutation(labels)]
    tail = draw.gamma(4.0, 0.5, truth.shape)  # scores have a long tail to below
    return np.log(shares) - tail + 1.5 * draw.standard_normal(truth.shape) + 2.5 * truth, truth


def after(scores, truth, bins: int, drift: float = 0.0):
    """Return the curves of an evaluation whose edges come from one before it, of other patients."""
    curves = binned(scores[::2] - drift, truth[::2], first_edges(truth.shape[1], bins))
    curves = binned(scores[::2] - drift, truth[::2], curves.next_edges(bins))
    return binned(scores[1::2], truth[1::2], curves.next_edges(bins))


def errors(found: Curves, scores, truth) -> tuple[float, float]:
    """Return by how much AUROC and average precision, each the mean of the classes, miss the exact ones."""
    classes = range(truth.shape[1])
    areas = [reference.roc_auc_score(truth[:, k], scores[:, k]) for k in classes]
    precisions = [reference.average_precision_score(truth[:, k], scores[:, k]) for k in classes]
    return found.auroc().mean() - np.mean(areas), found.average_precision().mean() - np.mean(precisions)


@pytest.mark.parametrize("drift", [0.0, 0.3])
def test_one_bin_for_ten_patients_costs_no_truth(drift) -> None:
    """At 400 patients and more, the rarest class with 10 images, as in the job skin-lesions."""
    missed = []
    for images, seed in ((800, 1), (800, 2), (800, 3), (1200, 4), (2000, 5)):
        scores, truth = study(images, seed)
        found = after(scores, truth, bins_for(200, images // 2), drift)
        missed.append(errors(found, scores[1::2], truth[1::2]))
    areas, precisions = np.abs(missed).T
    assert areas.max() < 0.005
    assert precisions.max() < 0.01


@pytest.mark.parametrize(("patients", "bins", "most"), [(28, 2, 0.065), (60, 5, 0.018)])
def test_few_bins_lie_on_both_sides_of_where_the_classes_part(patients, bins, most) -> None:
    """A single edge among the highest scores would tell AUROC of the top alone."""
    missed = []
    for seed in range(30):
        scores, truth = (part[:, :1] for part in study(patients, seed, shares=(0.5, 0.5)))
        curves = binned(scores, truth, first_edges(1, bins))
        for _ in range(4):
            curves = binned(scores, truth, curves.next_edges(bins))
        missed.append(errors(curves, scores, truth)[0])
    assert np.sqrt(np.mean(np.square(missed))) < most


def test_average_precision_of_few_positives_is_right_on_average() -> None:
    """The order within a bin is not known; what is supposed of it must not favour either side."""
    missed = []
    for seed in range(40):
        scores, truth = study(400, seed, shares=(0.02, 0.98))
        found = after(scores, truth, bins=20)
        missed.append(
            found.average_precision()[0] - reference.average_precision_score(truth[1::2, 0], scores[1::2, 0])
        )
    assert abs(np.mean(missed)) < 0.02
    assert np.std(missed) > abs(np.mean(missed))


def test_many_bins_give_the_exact_figures() -> None:
    scores, truth = study(400, seed=6)
    area, precision = errors(binned(scores, truth, first_edges(7, 4_000)), scores, truth)
    assert abs(area) < 2e-4
    assert abs(precision) < 1e-3


def test_edges_follow_scores_that_run_away() -> None:
    """A network may become very sure between two evaluations: its scores are found again soon."""
    scores, truth = study(1000, seed=7)
    curves = binned(scores, truth, first_edges(7, 50))
    missed = []
    for _ in range(4):
        curves = binned(4 * scores - 5, truth, curves.next_edges(50))
        missed.append(abs(errors(curves, scores, truth)[0]))
    assert missed[-1] < 0.005 < missed[0]


@given(patients=st.integers(0, 100_000), asked=st.integers(1, 1000))
def test_there_is_at_most_one_bin_for_ten_patients(patients, asked) -> None:
    bins = bins_for(asked, patients)
    assert 1 <= bins <= asked
    assert bins == 1 or 10 * bins <= patients


COUNTS = st.lists(st.integers(0, 2**40) | st.integers(0, 3), min_size=2, max_size=30)


@settings(deadline=None)
@given(positives=COUNTS, negatives=COUNTS, bins=st.integers(1, 200), centre=st.floats(-150, 150))
def test_edges_are_such_as_a_site_takes_and_figures_are_shares(positives, negatives, bins, centre) -> None:
    """Whatever the counts are: a hostile site may have sent some."""
    length = min(len(positives), len(negatives))
    row = np.clip(first_edges(1, length, centre), -LARGEST_EDGE, LARGEST_EDGE)
    row = np.unique(row)[None]
    counts = np.array([[positives[: row.size + 1]], [negatives[: row.size + 1]]])
    curves = Curves(row, counts[0], counts[1])
    edges = curves.next_edges(bins)
    assert edges.shape == (1, bins - 1)
    assert (np.abs(edges) <= LARGEST_EDGE).all()
    assert (np.diff(edges) > 0).all()
    for figure in (curves.auroc()[0], curves.average_precision()[0]):
        assert math.isnan(figure) or -1e-9 <= figure <= 1 + 1e-9


@pytest.mark.parametrize("positives", [[0, 63, 1], [1, 63, 0]])
def test_one_image_apart_bends_no_curve_of_all_others(positives) -> None:
    """As after a first round, when all scores are much the same: the round would be chosen as the best."""
    curves = Curves(first_edges(1, 3), np.array([positives]), np.array([[0, 52, 0]]))
    assert curves.auroc()[0] == pytest.approx(0.5, abs=0.03)


def test_what_is_undefined_is_no_number() -> None:
    edges = first_edges(3, 4)
    some, none = np.array([1, 2, 0, 3]), np.zeros(4, np.int64)
    curves = Curves(edges, np.stack([some, none, some]), np.stack([some, some, none]))
    assert np.isnan(curves.auroc()).tolist() == [False, True, True]
    assert np.isnan(curves.average_precision()).tolist() == [False, True, False]
    assert curves.average_precision()[2] == 1.0
