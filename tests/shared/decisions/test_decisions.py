"""Operating points, calibration and prediction sets, on scores whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.decisions.choice import Choice
from shared.decisions.choosing import choose
from shared.decisions.judged import judged
from shared.errors import JobError
from shared.job.decision_options import DecisionsTable
from shared.metrics.curves import LARGEST_EDGE, Curves, first_edges, through
from shared.tasks.fields import Field
from tests.jobs import make_job

TWO = Field("label", classes=("well", "ill"))
THREE = Field("label", classes=("a", "b", "c"))
SITES = (60, 80, 60)  # patients
ALL = DecisionsTable(operating_point="sensitivity", at_least=0.9, calibration="temperature", coverage=0.9)


def drawn(rng, patients, *, images=1, overconfident=3.0):
    """Return whether each image is ill, and its score: `overconfident` times the true logit."""
    ill = np.repeat(rng.random(patients) < 0.4, images)
    marker = np.where(ill, 1.0, -1.0) + np.repeat(rng.normal(0, 1, patients), images)
    return ill, overconfident * (2 * marker + np.log(0.4 / 0.6))


def counted(edges, truth, scores):
    """Return the histograms (K, B) of scores (N, K) and truth (N, K)."""
    bins = [np.searchsorted(row, own, side="right") for row, own in zip(edges, scores.T, strict=True)]
    number = edges.shape[1] + 1
    kinds = [
        np.stack([np.bincount(b[t], minlength=number) for b, t in zip(bins, kind.T, strict=True)])
        for kind in (truth, ~truth)
    ]
    return Curves(edges, *kinds)


def validated(rng, edges, **options):
    """Return the summed histograms of three hospitals."""
    parts = [counted(edges, *(x[:, None] for x in drawn(rng, number, **options))) for number in SITES]
    return Curves(edges, *(sum(getattr(p, kind) for p in parts) for kind in ("positives", "negatives")))


@pytest.fixture(scope="module")
def edges():
    rng = np.random.default_rng(0)
    return validated(rng, first_edges(1, 20)).next_edges(20)


def test_prediction_sets_have_the_true_class_as_often_as_promised(edges):
    """Over many federations, in each class; no set is larger than bins make it."""
    rng, found = np.random.default_rng(1), []
    for _ in range(150):
        choice = choose(ALL, TWO, validated(rng, edges), 1, sum(SITES))
        ill, scores = drawn(rng, 1000)
        test = counted(through(edges, choice.marks(TWO)), ill[:, None], scores[:, None])
        sets = judged(choice, TWO, test, 1000)["sets"]
        found.append([sets["classes"][name]["value"] for name in TWO.classes])
    assert (np.mean(found, axis=0) >= 0.9).all()
    assert (np.mean(found, axis=0) <= 0.95).all()


def test_images_of_one_patient_count_as_one_where_sets_are_promised(edges):
    """Nine images of each are no more evidence than one: of few patients a class stays in every set."""
    rng = np.random.default_rng(2)
    ill, scores = drawn(rng, 16, images=9)
    curves = counted(edges, ill[:, None], scores[:, None])
    asked = DecisionsTable(coverage=0.95)
    as_if_alone = choose(asked, TWO, curves, 1, 16 * 9)
    by_patient = choose(asked, TWO, curves, 1, 16)
    assert as_if_alone.cuts["ill"] > -LARGEST_EDGE
    assert by_patient.cuts["ill"] == -LARGEST_EDGE
    assert any("ill, which is in every set" in text for text in by_patient.missing)


def test_a_temperature_takes_back_what_a_network_is_too_sure_of(edges):
    rng = np.random.default_rng(3)
    found = [choose(ALL, TWO, validated(rng, edges), 1, 200).temperature for _ in range(20)]
    assert np.mean(found) == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("how", ["temperature", "isotonic"])
def test_calibrated_probabilities_hold_on_other_patients(edges, how):
    rng = np.random.default_rng(4)
    ill, scores = drawn(rng, 3000)
    curves = counted(edges, ill[:, None], scores[:, None])
    choice = choose(DecisionsTable(calibration=how), TWO, curves, 1, 3000)
    ill, scores = drawn(rng, 20_000)
    figures = judged(choice, TWO, counted(edges, ill[:, None], scores[:, None]), 20_000)["calibration"]["ill"]
    assert figures["error_after"] < figures["error_before"] / 2
    assert figures["brier_after"] < figures["brier_before"]
    chances = choice.calibrated("ill", scores)
    truth = 1 / (1 + np.exp(-scores / 3))
    assert np.abs(chances - truth).mean() < 0.05
    order = np.argsort(scores)
    assert (np.diff(chances[order]) >= 0).all()
    assert 0 < chances.min() < chances.max() < 1


def test_thresholds_do_what_was_asked_for(edges):
    curves = validated(np.random.default_rng(5), edges)
    found, kept = (np.cumsum(own[0][::-1])[::-1] / own.sum() for own in (curves.positives, curves.negatives))
    point = choose(ALL, TWO, curves, 1, 200).thresholds["ill"]
    place = int(np.flatnonzero(edges[0] == point)[0])
    assert found[place + 1] >= 0.9 > found[place + 2]  # the highest edge that has it
    other = DecisionsTable(operating_point="specificity", at_least=0.8)
    place = int(np.flatnonzero(edges[0] == choose(other, TWO, curves, 1, 200).thresholds["ill"])[0])
    assert 1 - kept[place + 1] >= 0.8 > 1 - kept[place]
    youden = choose(DecisionsTable(operating_point="youden"), TWO, curves, 1, 200).thresholds["ill"]
    assert youden == edges[0][np.argmax((found - kept)[1:])]


def test_what_the_sums_do_not_tell_is_said():
    none = Curves(np.zeros((1, 0)), np.array([[5]]), np.array([[7]]))
    asked = DecisionsTable(operating_point="youden", calibration="isotonic", coverage=0.9)
    choice = choose(asked, TWO, none, 1, 12)
    assert len(choice.missing) == 4  # threshold, calibration, and a cut of each class
    assert choice.thresholds == {}
    assert dict(choice.cells(TWO, [0.0, 0.0])) == {"prediction_set": "well|ill"}


def test_no_temperature_is_made_of_the_few_scores_beyond_one_bin():
    hardly_told_apart = Curves(np.array([[-0.3, 0.3]]), np.array([[0, 63, 1]]), np.array([[0, 52, 0]]))
    choice = choose(DecisionsTable(calibration="temperature"), TWO, hardly_told_apart, 1, 116)
    assert (choice.temperature, choice.missing) == (None, ["the temperature"])


def test_what_is_said_of_an_image_follows_from_the_choice():
    cells = dict(
        Choice(
            round=1,
            images=9,
            temperature=2.0,
            thresholds={"ill": 1.0},
            coverage=0.9,
            cuts={"well": 0.5, "ill": -0.5},
        ).cells(TWO, [-0.8, 0.8])
    )
    assert cells["calibrated/ill"] == pytest.approx(1 / (1 + np.exp(-0.4)))
    assert cells["calibrated/well"] + cells["calibrated/ill"] == pytest.approx(1)
    assert (cells["at_operating_point"], cells["prediction_set"]) == ("well", "ill")
    several = Choice(round=1, images=9, thresholds={"a": 0.0, "c": -1.0})
    assert dict(several.cells(THREE, [0.1, 3.0, -0.5])) == {"at_operating_point": "a|c"}


def test_every_class_of_several_has_a_cut_of_its_own():
    rng = np.random.default_rng(6)
    truth = np.eye(3, dtype=bool)[rng.integers(0, 3, 400)]
    curves = counted(first_edges(3, 40), truth, np.where(truth, 1.0, -1.0) + rng.normal(0, 1, (400, 3)))
    choice = choose(DecisionsTable(coverage=0.8), THREE, curves, 1, 400)
    sets = judged(choice, THREE, curves, 400)["sets"]
    assert all(own["value"] >= 0.8 for own in sets["classes"].values())
    assert 1 <= sets["mean_size"] < 3


marks = st.lists(st.floats(-50, 50), max_size=5)


@given(bins=st.integers(2, 12), wanted=marks)
def test_edges_go_through_marks_and_stay_edges(bins, wanted):
    edges = first_edges(1, bins)
    [found] = through(edges, [wanted])
    assert len(found) == bins - 1
    assert (np.diff(found) > 0).all()
    assert set(list(dict.fromkeys(wanted))[: bins - 1]) <= set(found.tolist())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"decisions": {"operating_point": "sensitivity"}}, "at_least: is needed"),
        ({"decisions": {}}, "name what is to be chosen"),
        ({"decisions": {"coverage": 0.9}, "task_multi_label": True}, "one class each"),
        ({"decisions": {"calibration": "isotonic"}, "task_name": "segmentation"}, "not for segmentation"),
    ],
)
def test_a_job_that_asks_for_what_can_not_be_chosen_is_refused(options, why):
    task = {"task_name": "classification"} | {k: v for k, v in options.items() if k != "decisions"}
    with pytest.raises(JobError, match=why):
        make_job(**task, evaluation={"decisions": options["decisions"]})
