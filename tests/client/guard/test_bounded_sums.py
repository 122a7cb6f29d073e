"""Sums that no few patients steer: what a coordinator reads of one patient, and what the sums cost."""

import copy
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data.manifest.splits import CohortKey
from client.guard.bounded_sums import _bound_mean, _bound_totals, bound
from client.guard.bounds import Bounds, rung
from shared.batch import Batch
from shared.further_metrics.feature_moments import FeatureMoments
from shared.job.schema import JobSpec
from shared.metrics.patient_values import PatientValues
from shared.metrics.states import MetricSet
from shared.tasks import make_task
from shared.tasks.segmentation.metrics import SCORES
from shared.tasks.segmentation.voxel_scores import BINS
from tests.batches import judge
from tests.jobs import make_job
from tests.shared.metrics.test_metrics import JOBS, evaluate, predictions
from tests.silent import silent

LEAST, OTHERS, ASKED = 10, 39, 200
CHANCE = 2.6 * (ASKED / 4) ** 0.5  # 99 % of guessing
LOOK = 0.56  # what one look at a patient between two groups of others is right in
MODES = pytest.mark.parametrize("between", [True, False], ids=["between the others", "far from the others"])


def bounded(metrics: MetricSet, job: JobSpec, hospital: int = 0, least: int = LEAST) -> MetricSet:
    found = twin(metrics)
    bound(found, Bounds(least, CohortKey.drawn(hospital).seed), job.evaluation.bins)
    return found


def twin(metrics: MetricSet, *names: str) -> MetricSet:
    """Return metrics that can be changed, all or those named; the job and the values of images are shared."""
    values = (part for added in metrics._values.values() for entry in added for part in entry)
    kept = {*names, "dice_patient"} if names else metrics.metrics.keys()  # to which settling adds
    found = copy.copy(metrics)
    found.metrics = {name: metric for name, metric in metrics.metrics.items() if name in kept}
    return copy.deepcopy(found, {id(one): one for one in (metrics.job, *values)})


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
        found[value] = twin(known)
        images = masks([value], [12]) if moved else masks([0], [value])
        judge(task, found[value], *images, ["target"])
    return {value: twin(metrics, name) for value, metrics in found.items()}


def classified(name: str, between: bool) -> dict[int, MetricSet]:
    """Return the same of a loss, or of confidences, all of the target's in one bin of them."""
    job = JOBS["binary"]
    task, known = make_task(job), make_task(job).metrics()
    targets = torch.tensor([number % 2 * between for number in range(OTHERS)])
    logits = torch.tensor([[3.0, -3.0]] * OTHERS)
    judge(task, known, logits, targets, [f"p{number}" for number in range(OTHERS)])
    found = {}
    for value in range(13):
        found[value] = twin(known)
        score = {"loss": value / 2 * (1 if between else 20), "calibration": 0.9 + value / 60}[name]
        judge(task, found[value], torch.tensor([[-score, 0.0]]), torch.tensor([0]), ["target"])
    return {value: twin(metrics, name) for value, metrics in found.items()}


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
    assert right < LOOK * ASKED + CHANCE


@pytest.mark.parametrize(("looks", "share"), [(1, LOOK), (10, 0.68), (30, 0.79)])
def test_looks_at_one_patient_add_up_as_the_page_says(looks, share):
    """Each round has noise of its own: n rounds tell as one would whose noise is the root of n smaller."""
    names, everybody, right = [f"p{number:02}" for number in range(OTHERS + 1)], np.ones((40, 1), bool), 0
    for number in range(ASKED):
        is_there = number % 2
        values = np.array([is_there, *[0.0] * 19, *[1.0] * 20])[:, None]
        of_patients, seed = PatientValues.of(names, values, everybody), CohortKey.drawn(number).seed
        sites = (Bounds(LEAST, partial(seed, look)) for look in range(looks))
        told = [site.column("loss", of_patients, 0, 1) for site in sites]
        right += int((np.mean(told) > 20.5) == is_there)
    assert abs(right - share * ASKED) < 2.6 * (ASKED * share * (1 - share)) ** 0.5


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
def test_no_few_patients_move_a_sum_beyond_the_range_of_the_others(patients, seed, data):
    """Whatever nine give, of few patients a sixth: without noise the sum is within the others' range."""
    values = np.random.default_rng(seed).random(patients)
    few = data.draw(st.integers(0, min(LEAST - 1, max((patients - 1) // 2 - 4, patients // 6))))
    values[:few] = data.draw(st.sampled_from([1e-9, 0.5, 900.0]))
    others = values[few:]
    told = silent(LEAST, seed).column("loss", column(values), 0, 1024.0)
    low, high = (
        rung(float(end), 1024.0, way) for end, way in ((others.min(), np.floor), (others.max(), np.ceil))
    )
    assert low * patients * 0.999 <= told <= high * patients * 1.001


def column(values: np.ndarray, images: int = 1, without: int = 0) -> PatientValues:
    """Return values of patients with so many images each, and of some who have none."""
    names = [f"p{number}" for number in range(len(values) + without) for _ in range(images)]
    all_values = np.repeat(np.append(values, np.zeros(without)), images)[:, None]
    return PatientValues.of(names, all_values, (np.arange(len(names)) < images * len(values))[:, None])


@pytest.mark.parametrize("patients", [12, 23, 40, 200])
def test_no_patient_is_the_end_of_the_range(patients):
    """So many others lie beyond the patient that they would be the end, where it was known how many do."""
    middle = (patients - 1) // 2
    rates = []
    for beyond in range(1, min(2 * LEAST - 1, middle + 1)):
        draw, right = np.random.default_rng(beyond), 0
        for hospital in range(ASKED):
            is_high = bool(draw.integers(2))
            values = np.full(patients, 0.5)
            values[:beyond], values[beyond] = 900.0, 400.0 if is_high else 2.0
            bounds = Bounds(LEAST, CohortKey.drawn(hospital).seed)
            told = bounds.column("loss", column(values), 0, 1024.0) - 0.5 * patients
            guess = told > 40 * beyond if abs(told) > 1e-6 and told < 500 * patients else draw.integers(2)
            right += int(guess == is_high)
        rates.append(right / ASKED)
    assert max(rates) < 0.75
    assert np.mean(rates) < 0.62


def test_two_sums_of_the_same_means_have_other_noise_where_other_images_are_behind_them():
    """A made model has no distance for one image of a patient; the mean over the others is the same."""
    names, values = [f"p{number // 2}" for number in range(80)], np.linspace(1, 20, 40).repeat(2)[:, None]
    counted = np.ones((80, 1), np.bool_)
    before = PatientValues.of(names, values, counted)
    counted[40] = False
    after = PatientValues.of(names, values, counted)
    right = 0
    for hospital in range(ASKED):
        bounds = Bounds(LEAST, CohortKey.drawn(hospital).seed)
        gone = bounds.column("hd95", before, 0, 4096.0) - bounds.column("hd95", after, 0, 4096.0)
        right += int(abs(gone - values[40, 0]) < 1)
    assert right < ASKED / 10


def test_many_structures_show_a_patient_no_better_than_one():
    """A made model predicts all structures for the target or none; every one has a sum of its own."""
    structures = [f"s{number}" for number in range(64)]
    metrics = make_task(make_job(task_classes=structures)).metrics()
    draw, right = np.random.default_rng(9), 0
    for hospital in range(ASKED):
        place = int(draw.integers(2))
        values = torch.tensor([number % 2 for number in range(OTHERS)] + [place])[:, None].expand(-1, 64)
        found = twin(metrics, "dice_image")
        found.add("dice_image", [f"p{number}" for number in range(OTHERS + 1)], values.double())
        dice = found.metrics["dice_image"]
        _bound_mean(found, "dice_image", dice, Bounds(LEAST, CohortKey.drawn(hospital).seed))
        right += int((float(dice.total.mean()) > OTHERS // 2 + 0.5) == bool(place))
    assert abs(right - ASKED / 2) < CHANCE


def test_many_bins_show_a_patient_no_better_than_one():
    """Voxels of half of the patients are spread over all bins of their scores: is it the target's, too?"""
    kinds = torch.zeros(2, 2, BINS, 1, dtype=torch.long)
    kinds[0, :, 0], kinds[1] = BINS, 1  # in one bin, or one voxel in each
    metrics, right = make_task(make_job(task_voxel_metrics=True)).metrics(), 0
    for hospital in range(asked := 40):
        spread, found = hospital % 2, twin(metrics, SCORES)
        of_patients = kinds[[number % 2 for number in range(OTHERS)] + [spread]]
        found.add_up(SCORES, [f"p{number}" for number in range(OTHERS + 1)], of_patients)
        scores = found.metrics[SCORES]
        _bound_totals(found, SCORES, scores, Bounds(LEAST, CohortKey.drawn(hospital).seed))
        right += (scores.total[:, 1:].double().mean() > OTHERS // 2 + 0.5) == spread
    assert right < 0.8 * asked  # 56 %, and 40 looks are within 20 %; it was 99 %


@pytest.mark.parametrize("others", [[39, 0], [20, 19]], ids=["alone", "between two groups"])
def test_no_pixel_is_read_out_of_a_count(others):
    """Which of two groups the target is in, where the coordinator knows both."""
    draw, right = np.random.default_rng(8), 0
    names = np.array([f"p{number}" for number in range(40)])
    for hospital in range(ASKED):
        place = int(draw.integers(2))
        images = np.repeat([[1, 0], [0, 1]], [others[0] + (place == 0), others[1] + (place == 1)], axis=0)
        told = Bounds(LEAST, CohortKey.drawn(hospital).seed).counts(names, images)
        assert told.sum() == 40
        right += int((told[1] > others[1] + 0.5) == bool(place))
    assert right < 0.7 * ASKED  # 58 % is what the noise leaves of one look; 200 looks are within 9 %


@pytest.mark.parametrize("found", [LEAST, 20, 39, 40])
def test_how_many_images_have_a_value_is_told_with_noise_and_their_mean_stays(found):
    """A made model finds a structure in all images but the target's, or but a group's and the target's."""
    job = JOBS["one structure"]
    task, told, exact = make_task(job), [], []
    for there in (found, found - 1):
        metrics = task.metrics()
        judge(
            task, metrics, *masks([3] * 40, [12] * there + [0] * (40 - there)), [f"p{n}" for n in range(40)]
        )
        exact.append(int(metrics.metrics["hd95"].count))
        distances = twin(metrics, "hd95")
        told.append([bounded(distances, job, hospital).metrics["hd95"] for hospital in range(ASKED)])
    assert exact == [found, found - 1]
    for hd95 in (one for ones in told for one in ones if one.count):
        assert 0 < hd95.count <= 40
        assert hd95.compute() == pytest.approx(3.0, rel=0.2)
    if found > LEAST:
        more, fewer = (np.array([int(one.count) for one in ones]) for ones in told)
        assert np.mean(more > fewer) < 0.7


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


def test_a_mean_that_may_be_below_zero_stays_there() -> None:
    """Targets of a regression, in standard deviations from the mean of all sites: here all are below it."""
    job = make_job(task_name="regression", task_scaling={"age": [50.0, 20.0]})
    task, metrics = make_task(job), make_task(job).metrics()
    ages = torch.from_numpy(np.random.default_rng(0).uniform(10, 40, (80, 1))).float()
    batch = Batch({"number": ages}, [f"p{number:02d}" for number in range(80)])
    task.update(metrics, {"standard": torch.zeros(80, 1)}, batch, torch.zeros(80))
    told = bounded(metrics, job).settled()["target"].compute()
    assert float(told) == pytest.approx(float((ages.mean() - 50) / 20), abs=0.15)


def moments() -> tuple[MetricSet, JobSpec]:
    """Return sums of features that are all below 0, of 40 patients."""
    asked = [{"name": "feature_moments"}]
    job = make_job(task_name="classification", evaluation={"metrics": asked})
    task, generator = make_task(job), torch.Generator().manual_seed(0)
    metrics, logits = task.metrics(), -1 - torch.rand(40, 2, generator=generator)
    judge(task, metrics, logits, torch.arange(40) % 2, [f"p{number}" for number in range(40)])
    return metrics, job


def test_a_mean_below_zero_is_told_below_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, job = moments()
    monkeypatch.setattr(FeatureMoments, "exact", False)
    found = bounded(metrics, job, least=2).metrics["feature_moments"]
    exact = metrics.metrics["feature_moments"]
    below = exact.total < 0
    assert below.sum() >= 64
    assert (found.total[below] < 0).double().mean() > 0.5


def test_a_mean_that_noise_would_drown_is_left_out() -> None:
    metrics, job = moments()
    found = bounded(metrics, job).metrics["feature_moments"]
    assert found.count.sum() == found.total.abs().sum() == 0
    exact = bounded(metrics, job, least=1).metrics["feature_moments"]
    assert torch.equal(exact.total, metrics.metrics["feature_moments"].total)


def test_where_samples_are_pairs_noise_is_twice_as_large() -> None:
    """A patient is in the pairs of others too: what he moves is as much again."""
    counts = np.full(20, 3)
    alone, pairs = (Bounds(LEAST, CohortKey.drawn(1).seed, moved=moved) for moved in (1, 2))
    assert pairs.deviation(counts) == 2 * alone.deviation(counts)
