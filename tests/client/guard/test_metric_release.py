"""What a site withholds of its own metric states: what fewer patients than its policy says are behind."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data.manifest.splits import CohortKey
from client.guard.bounded_sums import bound
from client.guard.bounds import Bounds
from client.guard.metric_release import _clear, withhold
from shared.metrics.summed_states import states_of
from shared.tasks import make_task
from tests.shared.metrics.test_metrics import JOBS, evaluate, predictions
from tests.silent import silent

LEAST = 10


def drawn(name: str, patients: int, seed: int, images_each: int = 1, rare: float = 1.0):
    """Return metrics of random predictions on images of so many patients, and the patients."""
    spec = JOBS[name]
    logits, targets = predictions(spec, patients * images_each, seed)
    if spec.task.name == "classification" and not spec.task.multi_label:
        draw = torch.Generator().manual_seed(seed)
        targets = torch.where(torch.rand(targets.shape, generator=draw) < rare, targets, 0)
    names = [f"p{i // images_each}" for i in range(len(targets))]
    return evaluate(spec, logits, targets, names), names


def cells(metrics) -> dict[str, np.ndarray]:
    return {f"{name}.{key}": state.numpy() for name, key, state in states_of(metrics.settled())}


def release(metrics, least: int = LEAST, hospital: int = 1) -> None:
    """Do what a site does with states that leave unmasked."""
    bounds = Bounds(least, CohortKey.drawn(hospital).seed)
    bound(metrics, bounds, metrics.job.evaluation.bins)
    withhold(metrics, bounds, metrics.job.evaluation.bins)


def withheld(metrics) -> None:
    """Take out of states what a site takes out, and leave the rest as it is."""
    withhold(metrics, silent(LEAST), metrics.job.evaluation.bins)


def counts_of_images(metrics) -> list[np.ndarray]:
    """Return every count that leaves, and what is told by taking one from another."""
    found = cells(metrics)
    told = [values for key, values in found.items() if values.dtype == np.int64 and "overlap" not in key]
    if "calibration.count" in found:
        assert not found["calibration.count"].any()
        tp, fp, tn, fn = (found[f"decisions.{key}"] for key in ("tp", "fp", "tn", "fn"))
        scored = found["curves.positives"] + found["curves.negatives"]
        images = max((tp + fp + tn + fn).max(), scored.sum(axis=1).max())
        told += [tp + fn, fp + tn, images - (tp + fn) if tp.any() else np.zeros(1)]
        positives = found["curves.positives"].sum(axis=1)
        if positives.any() and not metrics.job.task.multi_label and len(positives) > 1:
            told.append(images - positives.sum())  # of the classes that were withheld
    return told


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["binary", "multi-class", "multi-label", "one label"]),
    patients=st.integers(LEAST, 300),
    seed=st.integers(0, 2**31),
    rare=st.sampled_from([0.02, 0.1, 0.5, 1.0]),
)
def test_no_count_that_leaves_is_about_fewer_patients(name, patients, seed, rare) -> None:
    metrics, _ = drawn(name, patients, seed, rare=rare)
    withheld(metrics)
    for counts in counts_of_images(metrics):
        assert not ((counts > 0) & (counts < LEAST)).any()
    histograms = cells(metrics)["curves.positives"] + cells(metrics)["curves.negatives"]
    assert (np.count_nonzero(histograms, axis=1) <= patients // 10).all()


@settings(max_examples=25, deadline=None)
@given(
    patients=st.integers(LEAST, 300),
    seed=st.integers(0, 2**31),
    name=st.sampled_from(["binary", "one label"]),
)
def test_curve_and_decisions_together_tell_of_no_few(patients, seed, name) -> None:
    """Sensitivity counts those above the decision, the curve those above its own bounds."""
    metrics, _ = drawn(name, patients, seed)
    withheld(metrics)
    found = cells(metrics)
    for kind, right in (("positives", "tp"), ("negatives", "fp")):
        decided = found[f"decisions.{right}"][-1]
        if not found["decisions.tn"].any():
            continue  # the decisions were withheld
        for count in np.cumsum(found[f"curves.{kind}"][0][::-1]):
            assert count == 0 or abs(count - decided) == 0 or abs(count - decided) >= LEAST


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), images_each=st.integers(2, 5))
def test_it_is_patients_who_are_counted_and_not_their_images(seed, images_each) -> None:
    """Nine patients of one class with many images each are still nine patients."""
    spec = JOBS["binary"]
    logits, _ = predictions(spec, 60 * images_each, seed)
    patients = [f"p{i // images_each}" for i in range(len(logits))]
    targets = torch.tensor([int(i // images_each < LEAST - 1) for i in range(len(logits))])
    metrics = evaluate(spec, logits, targets, patients)
    withheld(metrics)
    found = metrics.compute()
    for name in ("accuracy", "sensitivity", "specificity", "auroc", "average_precision"):
        assert math.isnan(found[name]), name


@settings(max_examples=10, deadline=None)
@given(patients=st.integers(LEAST, 25), seed=st.integers(0, 2**31), empty=st.floats(0, 1))
def test_a_structure_of_few_patients_is_withheld(patients, seed, empty) -> None:
    spec = JOBS["two structures"]
    logits, targets = predictions(spec, patients, seed)
    draw = torch.Generator().manual_seed(seed)
    gone = torch.rand(patients, generator=draw) < empty
    targets[gone] = torch.where(targets[gone] == 2, 0, targets[gone])
    logits[gone, 2] = -50.0
    names = [f"p{i}" for i in range(patients)]
    metrics = evaluate(spec, logits, targets, names)
    having = sum(bool((mask == 2).any()) for mask in targets)
    release(metrics)
    found = cells(metrics)
    if 0 < having < LEAST:
        assert not found["overlap.total"][:, 1].any()
        for name in ("dice_image", "dice_patient", "hd95", "surface_dice", "hd95_undefined"):
            assert not found[f"{name}.count"][1], name
            assert not found[f"{name}.total"][1], name
    for name in ("hd95", "hd95_undefined", "surface_dice"):
        assert not 0 < found[f"{name}.count"][1] < LEAST
    if having < LEAST or having == patients:
        return
    assert found["dice_patient.count"][0] in (0, patients)


@pytest.mark.parametrize("name", JOBS)
def test_a_hospital_that_allows_figures_of_single_patients_tells_all(name) -> None:
    metrics, _ = drawn(name, 12, seed=3)
    before = metrics.pack()
    release(metrics, 1)
    np.testing.assert_array_equal(metrics.pack(), before)


@pytest.mark.parametrize("name", ["binary", "multi-class", "multi-label"])
def test_what_leaves_of_a_large_hospital_is_near_the_truth(name) -> None:
    spec = JOBS[name]
    logits, targets = predictions(spec, 600, seed=4)
    metrics = evaluate(spec, logits, targets, [f"p{i}" for i in range(600)])
    exact = metrics.compute()
    release(metrics)
    found = metrics.compute()
    for key in ("accuracy", "balanced_accuracy", "f1"):
        assert found[key] == pytest.approx(exact[key], abs=0.04)
    assert found["auroc"] == pytest.approx(exact["auroc"], abs=0.06)
    assert found["average_precision"] == pytest.approx(exact["average_precision"], abs=0.1)
    assert math.isnan(found["calibration_error"])
    assert found["loss"] == pytest.approx(exact["loss"], rel=0.2)


@settings(max_examples=10, deadline=None)
@given(
    sizes=st.lists(st.integers(LEAST, 60), min_size=2, max_size=3),
    seed=st.integers(0, 2**31),
    name=st.sampled_from(["binary", "multi-class", "multi-label", "one structure"]),
)
def test_what_sites_leave_still_adds_up(sizes, seed, name) -> None:
    """Merged bins lie in the common layout: the sum of the sites is a state like any other."""
    spec = JOBS[name]
    logits, targets = predictions(spec, sum(sizes), seed)
    total = make_task(spec).metrics()
    for number, (first, end) in enumerate(pairwise(np.cumsum([0, *sizes]))):
        patients = [f"{number}-{i}" for i in range(end - first)]
        site = evaluate(spec, logits[first:end], targets[first:end], patients)
        release(site)
        total.merge(site.pack())
        assert (np.abs(site.pack()) <= total.limits(int(end - first))).all()
    for key, value in total.compute().items():
        largest = math.inf if key.startswith(("loss", "hd95")) else 1
        assert math.isnan(value) or 0 <= value <= largest, key


def test_a_model_made_to_point_at_one_patient_points_at_nobody() -> None:
    """One patient's score is a pixel, far from all others': wherever it lies, the same leaves."""
    spec = JOBS["binary"]
    targets = torch.tensor([0, 1] * 100)
    patients = [f"p{i}" for i in range(200)]
    told = set()
    for pixel in np.linspace(0.5, 9, 13):
        logits = torch.zeros(200, 2)
        logits[:, 1] = torch.linspace(-9.0, -1.0, 200)
        logits[17, 1] = pixel
        metrics = evaluate(spec, logits, targets, patients)
        withheld(metrics)
        found = cells(metrics)
        assert found["curves.positives"].any()
        _clear(metrics, "loss")  # it is bounded, with noise
        told.add(metrics.pack().tobytes())
    assert len(told) == 1


def test_no_patient_is_seen_to_move_from_one_large_group_to_another() -> None:
    """Made models put everybody else where the round before put them, and one patient here or there."""
    spec, asked = JOBS["binary"], 200
    targets, names = torch.tensor([0, 1] * 80), [f"p{i}" for i in range(160)]
    answers = {}
    for place in (False, True):
        logits = torch.zeros(160, 2)
        logits[:, 1] = torch.tensor([-1.0, -1.0, 1.0, 1.0]).repeat(40) * torch.linspace(1, 8, 160)
        logits[1, 1] = 4.0 if place else -4.0
        answers[place] = evaluate(spec, logits, targets, names)
        withheld(found := copy.deepcopy(answers[place]))
        assert cells(found)["curves.positives"].any()
    draw, right = np.random.default_rng(3), {"decisions.tp": 0, "curves.positives": 0}
    for hospital in range(asked):
        place = bool(draw.integers(2))
        metrics = copy.deepcopy(answers[place])
        release(metrics, hospital=hospital)
        for name in right:
            told, exact = (cells(one)[name][-1] for one in (metrics, answers[True]))
            above = told if told.ndim == 0 else told[len(told) // 2 :].sum()
            most = exact if exact.ndim == 0 else exact[len(exact) // 2 :].sum()
            right[name] += int((above > most - 0.5) == place)
    assert max(right.values()) < 0.58 * asked + 2.6 * (asked / 4) ** 0.5


@pytest.mark.parametrize("patients", [LEAST + 1, 45])
def test_scores_that_are_pixels_give_no_image(patients) -> None:
    """A model whose score is one pixel, asked of two groups that differ by one patient, pixel by pixel.

    The two groups are what a site refuses to be asked about; should it come to it, its states still hide him.
    """
    spec = JOBS["binary"]
    draw = np.random.default_rng(5)
    images = draw.random((patients, 36))
    targets = torch.tensor([i % 2 for i in range(patients)])
    names = [f"p{i}" for i in range(patients)]

    def told(pixel: int, group: slice) -> np.ndarray:
        logits = torch.zeros(patients, 2)
        logits[:, 1] = torch.from_numpy(18 * images[:, pixel] - 9)
        metrics = evaluate(spec, logits[group], targets[group], names[group])
        withheld(metrics)
        return sum(cells(metrics)[f"curves.{kind}"][0] for kind in ("positives", "negatives"))

    edges = make_task(spec).metrics().edges[0]
    read = np.full(36, 0.5)
    for pixel in range(36):
        gained = np.flatnonzero(told(pixel, slice(None)) > told(pixel, slice(1, None)))
        if gained.size:
            read[pixel] = (edges[min(gained[0], len(edges) - 1)] + 9) / 18
    error = float(((read - images[0]) ** 2).mean())
    assert 10 * math.log10(1 / error) < 13  # guessing grey for every pixel gives 10.8 dB
