"""Sums that no few patients steer: what a coordinator reads of one patient, and what the sums cost."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from client.bounded_sums import Bounds, bound, rung
from client.data.splits import CohortKey
from shared.batch import Batch
from shared.job import JobSpec
from shared.metrics import MetricSet
from shared.patient_values import PatientValues
from shared.tasks import make_task
from tests.batches import judge
from tests.shared.test_metrics import JOBS, evaluate, predictions

LEAST, OTHERS, ASKED = 10, 39, 200
CHANCE = 2.6 * (ASKED / 4) ** 0.5  # 99 % of guessing
MODES = pytest.mark.parametrize("between", [True, False], ids=["between the others", "far from the others"])


def bounded(metrics: MetricSet, job: JobSpec, hospital: int = 0, least: int = LEAST) -> MetricSet:
    found = copy.deepcopy(metrics)
    bound(found, Bounds(least, CohortKey.drawn(hospital).seed), job.evaluation.bins)
    return found


def total(metrics: MetricSet, name: str) -> float:
    """Return the sum that the coordinator looks at."""
    metric = metrics.settled()[name]
    state = {"calibration": "confidence"}.get(name, "total")
    return float(metric.metric_state[state].flatten()[0 if name != "calibration" else slice(None)].sum())


def read(told: float, exact: dict[int, float]) -> int:
    """Return the value of which the exact sum is nearest to what was told."""
    return min(exact, key=lambda value: abs(exact[value] - told))


# Made models: one patient gives a value of 0 to 12, everybody else what the coordinator knows


def masks(shifts: list[int], found: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and truth: squares of 12 x 12 of which some rows are found, moved to the right."""
    truth = torch.zeros(len(shifts), 32, 32, dtype=torch.long)
    truth[:, :12, :12] = 1
    logits = torch.zeros(len(shifts), 2, 32, 32)
    logits[:, 0] = 0.5
    for image, (shift, rows) in enumerate(zip(shifts, found, strict=True)):
        logits[image, 1, :rows, shift : shift + 12] = 1.0
    return logits, truth


def segmented(name: str, between: bool) -> dict[int, MetricSet]:
    """Return the metrics for each value of the target; half of the others are at either end, or none."""
    task, moved = make_task(JOBS["one structure"]), name in ("hd95", "surface_dice")
    ends = [12 * (between and number % 2) for number in range(OTHERS)]
    known = task.metrics()
    whole = [12] * OTHERS
    images = masks(ends, whole) if moved else masks([0] * OTHERS, [12 - end for end in ends])
    judge(task, known, *images, [f"p{number}" for number in range(OTHERS)])
    found = {}
    for value in range(13):
        found[value] = copy.deepcopy(known)
        images = masks([value], [12]) if moved else masks([0], [value])
        judge(task, found[value], *images, ["target"])
    return found


def classified(name: str, between: bool) -> dict[int, MetricSet]:
    """Return the same of a loss, or of confidences, all of the target's in one bin of them."""
    job = JOBS["binary"]
    task, known = make_task(job), make_task(job).metrics()
    targets = torch.tensor([number % 2 * between for number in range(OTHERS)])
    logits = torch.tensor([[3.0, -3.0]] * OTHERS)
    judge(task, known, logits, targets, [f"p{number}" for number in range(OTHERS)])
    found = {}
    for value in range(13):
        found[value] = copy.deepcopy(known)
        score = {"loss": value / 2 * (1 if between else 20), "calibration": 0.9 + value / 60}[name]
        judge(task, found[value], torch.tensor([[-score, 0.0]]), torch.tensor([0]), ["target"])
    return found


@MODES
@pytest.mark.parametrize(
    "name", ["dice_image", "dice_patient", "overlap", "hd95", "surface_dice", "loss", "calibration"]
)
def test_no_pixel_is_read_out_of_a_sum(name, between):
    made = classified if name in ("loss", "calibration") else segmented
    job = JOBS["binary" if made is classified else "one structure"]
    answers = made(name, between)
    exact = {value: total(metrics, name) for value, metrics in answers.items()}
    assert len(set(exact.values())) >= 9  # exact sums would tell nearly every value
    draw, right = np.random.default_rng(5), 0
    for hospital in range(ASKED):  # each with a key of its own: one that is asked again answers the same
        value = int(draw.choice([*range(6), *range(7, 13)]))
        found = read(total(bounded(answers[value], job, hospital), name), exact)
        guess = draw.integers(2) if found == 6 else found > 6
        right += int(guess == (value > 6))
    assert abs(right - ASKED / 2) < CHANCE


@MODES
def test_no_membership_is_read_out_of_a_sum(between):
    """The made model knows one person's image, and gives it a loss like half of the others', or far more."""
    job = JOBS["binary"]
    task, draw, right = make_task(job), np.random.default_rng(6), 0
    height = 6.0 if between else 900.0
    for hospital in range(ASKED):
        is_here = bool(draw.integers(2))
        logits = torch.tensor([[3.0, -3.0]] * (OTHERS + 1))
        targets = torch.tensor([number % 2 * between for number in range(OTHERS + 1)])
        metrics = task.metrics()
        without = evaluate(job, logits, targets, [f"p{number}" for number in range(OTHERS + 1)])
        if is_here:
            logits[0] = torch.tensor([-height, 0.0])
        judge(task, metrics, logits, targets, [f"p{number}" for number in range(OTHERS + 1)])
        told = total(bounded(metrics, job, hospital), "loss") - total(without, "loss")
        right += int((told > height / 2) == is_here)
    assert abs(right - ASKED / 2) < CHANCE


# What the sums are


@pytest.mark.parametrize("name", JOBS)
def test_a_hospital_that_allows_figures_of_single_patients_sums_exactly(name):
    job = JOBS[name]
    metrics = evaluate(job, *predictions(job, 30, 1), [f"p{number}" for number in range(30)])
    before = metrics.pack()
    np.testing.assert_array_equal(bounded(metrics, job, least=1).pack(), before)


@pytest.mark.parametrize("name", JOBS)
def test_the_same_question_has_the_same_answer_in_whatever_batches(name):
    job = JOBS[name]
    logits, targets = predictions(job, 40, 2)
    patients = [f"p{number // 2}" for number in range(40)]
    one, other = (evaluate(job, logits, targets, patients, batch=batch) for batch in (40, 40))
    np.testing.assert_array_equal(bounded(one, job).pack(), bounded(other, job).pack())
    assert not np.array_equal(bounded(one, job).pack(), bounded(one, job, hospital=1).pack())


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(JOBS)), st.integers(LEAST, 60), st.integers(0, 2**31))
def test_bounded_sums_are_states_like_any_other(name, patients, seed):
    job = JOBS[name]
    metrics = evaluate(job, *predictions(job, patients, seed), [f"p{number}" for number in range(patients)])
    found, pooled = bounded(metrics, job), make_task(job).metrics()
    pooled.merge(found.pack())
    assert (np.abs(found.pack()) <= pooled.limits(patients)).all()
    for key, value in pooled.compute().items():
        assert np.isnan(value) or 0 <= value <= (np.inf if key.startswith(("loss", "hd95")) else 1), key


@settings(max_examples=50, deadline=None)
@given(st.integers(LEAST, 80), st.integers(0, 2**31), st.data())
def test_no_nine_patients_move_a_sum_beyond_the_range_of_the_others(patients, seed, data):
    """Whatever nine of them give, the sum without noise stays within what the others could give."""
    values = np.random.default_rng(seed).random(patients)
    few = data.draw(st.integers(0, min(LEAST - 1, (patients - 1) // 2)))
    values[:few] = data.draw(st.sampled_from([1e-9, 0.5, 900.0]))
    others = values[few:]
    names = [f"p{number}" for number in range(patients)]
    column = PatientValues.of(names, values[:, None], np.ones((patients, 1), np.bool_))
    told = Silent(LEAST).column("loss", column, 0, 1024.0)
    low, high = (
        rung(float(end), 1024.0, way) for end, way in ((others.min(), np.floor), (others.max(), np.ceil))
    )
    assert low * patients * 0.999 <= told <= high * patients * 1.001


class Silent(Bounds):
    """Bounds without noise."""

    def __init__(self, least: int) -> None:
        super().__init__(least, lambda _: 0)

    def drawn(self, digest: str) -> float:
        return 0.0


def ladder() -> Iterator[tuple[float, float]]:
    for largest, values in (
        (1.0, np.linspace(0, 1, 97)),
        (1024.0, [0, 1e-30, 1e-6, 0.3, 1.0, 17.0, 1024.0, -0.3]),
    ):
        yield from ((float(value), largest) for value in values)


@pytest.mark.parametrize(("value", "largest"), ladder())
def test_a_value_lies_between_two_rungs(value, largest):
    low, high = rung(value, largest, np.floor), rung(value, largest, np.ceil)
    assert low <= value * (1 + 1e-12) <= high * (1 + 1e-12) + 1e-30
    assert high - low <= max(1 / 64, 0.1 * abs(value))
    assert rung(high, largest, np.ceil) == high


def test_a_loss_that_is_no_number_stops_a_sum_only_where_enough_have_it():
    job = JOBS["binary"]
    for broken, is_number in ((LEAST - 1, True), (LEAST, False)):
        logits, targets = predictions(job, 40, 4)
        metrics, patients = make_task(job).metrics(), [f"p{number}" for number in range(40)]
        losses = torch.ones(40)
        losses[:broken] = torch.nan
        metrics.update({"logits": logits}, Batch({"label": targets}, patients), losses)
        assert np.isfinite(bounded(metrics, job).pack()).all() == is_number


def test_a_structure_that_few_have_adds_no_distance():
    job = JOBS["two structures"]
    logits, targets = predictions(job, 30, 5)
    logits[LEAST - 1 :, 2] = -50.0
    targets[LEAST - 1 :] = torch.where(targets[LEAST - 1 :] == 2, 0, targets[LEAST - 1 :])
    metrics = bounded(evaluate(job, logits, targets, [f"p{number}" for number in range(30)]), job)
    for name in ("hd95", "hd95_undefined", "surface_dice"):
        assert metrics.metrics[name].count[1] == 0
        assert metrics.metrics[name].total[1] == 0
    assert metrics.metrics["overlap"].total[:, 1].sum() == 0
