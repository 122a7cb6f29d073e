"""Metric states of sites add up to the metrics of the pooled predictions."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_iou, compute_surface_dice
from sklearn import metrics as reference
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from shared.job.schema import JobSpec
from shared.metrics.spec import is_better, metric_names, metric_specs
from shared.metrics.states import MetricSet
from shared.metrics.summed_states import states_of
from shared.tasks import make_task
from tests.batches import judge as judge_batch
from tests.jobs import make_job

SPLITS = [[30], [29, 1], [10, 0, 20], [1, 1, 1, 27], [15, 8, 7]]


def job(task: str, classes: list[str], **options: Any) -> JobSpec:
    named = {"task_name": task, "task_classes": classes, "task_loss": "cross-entropy"}
    if task == "segmentation":
        options = {"task_distances": True, **options}
    return make_job(**named, evaluation={"bins": 400}, **options)


JOBS = {
    "binary": job("classification", ["no", "yes"]),
    "multi-class": job("classification", ["a", "b", "c", "d"]),
    "multi-label": job("classification", ["a", "b", "c"], task_multi_label=True),
    "one label": job("classification", ["a"], task_multi_label=True),
    "one structure": job("segmentation", ["tumour"]),
    "two structures": job("segmentation", ["core", "edema"]),
    "volumes": job("segmentation", ["core", "edema"], data_dimensions=3, data_size=[8, 8, 8]),
}


def predictions(spec: JobSpec, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw logits that are right more often than not, and targets."""
    draw = torch.Generator().manual_seed(seed)
    classes = len(spec.task.classes)
    if spec.task.name == "segmentation":
        size = spec.data.size or []
        blobs = torch.rand(n, *size, generator=draw)
        targets = ((blobs > 0.8) * torch.randint(0, classes + 1, (n, *size), generator=draw)).byte()
        targets[torch.rand(n, generator=draw) < 0.3] = 0
        truth = one_hot(targets.long(), classes + 1).movedim(-1, 1)
    elif spec.task.multi_label:
        targets = torch.randint(0, 2, (n, classes), generator=draw).float()
        truth = targets
    else:
        targets = torch.randint(0, classes, (n,), generator=draw)
        truth = one_hot(targets, classes)
    noise = torch.randn(truth.shape, generator=draw)
    return 2 * noise + 2.0 * truth, targets


def evaluate(
    spec: JobSpec,
    logits: Tensor,
    targets: Tensor,
    patients: list[str],
    *,
    spacing: Any = None,
    batch: int = 16,
) -> MetricSet:
    task = make_task(spec)
    found = task.metrics()
    for start in range(0, len(logits), batch):
        part = slice(start, start + batch)
        judge_batch(task, found, logits[part], targets[part], patients[part], spacing=spacing)
    return found


def pool(spec: JobSpec, sites: list[MetricSet]) -> dict[str, float]:
    total = make_task(spec).metrics()
    for site in sites:
        total.merge(site.pack())
    return total.compute()


def assert_same(found: dict[str, float], expected: dict[str, float]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6, nan_ok=True), name


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("sizes", SPLITS, ids=str)
def test_states_of_sites_add_up_to_pooled(name: str, sizes: list[int]) -> None:
    spec = JOBS[name]
    logits, targets = predictions(spec, sum(sizes), seed=len(sizes))
    order = torch.arange(len(targets))
    if spec.task.name == "classification" and not spec.task.multi_label:
        order = targets.argsort()  # so that some sites see one class only
    logits, targets = logits[order], targets[order]
    patients = [f"p{i // 3}" for i in range(len(targets))]
    starts = np.cumsum([0, *sizes])
    for start in starts[1:-1]:  # a patient belongs to one site
        patients[start:] = [f"{patient}@{start}" for patient in patients[start:]]
    parts = [slice(a, b) for a, b in pairwise(starts)]
    sites = [evaluate(spec, logits[p], targets[p], patients[p], batch=7) for p in parts]
    pooled = evaluate(spec, logits, targets, patients)
    assert_same(pool(spec, sites), pooled.compute())
    assert tuple(pooled.compute()) == metric_names(spec)
    assert not any(math.isnan(value) for value in pooled.compute().values())


@settings(max_examples=15, deadline=None)
@given(
    owners=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    seed=st.integers(0, 2**31),
    name=st.sampled_from(["binary", "multi-class", "multi-label", "two structures"]),
)
def test_any_split_gives_the_pooled_metrics(owners: list[int], seed: int, name: str) -> None:
    spec = JOBS[name]
    logits, targets = predictions(spec, len(owners), seed)
    patients = [f"{owner}-{i % 3}" for i, owner in enumerate(owners)]
    sites = []
    for site in range(4):
        rows = [i for i, owner in enumerate(owners) if owner == site]
        sites.append(evaluate(spec, logits[rows], targets[rows], [patients[i] for i in rows], batch=5))
    assert_same(pool(spec, sites), evaluate(spec, logits, targets, patients).compute())


@pytest.mark.parametrize("name", JOBS)
def test_empty_metrics_are_undefined_and_not_an_error(name: str, recwarn: pytest.WarningsRecorder) -> None:
    found = make_task(JOBS[name]).metrics().compute()
    assert all(math.isnan(value) for value in found.values())
    assert not recwarn.list


@pytest.mark.parametrize("name", JOBS)
def test_no_state_is_beyond_its_limit(name: str) -> None:
    """Also where scores are absurd; masked sums and the coordinator count on the limits."""
    spec = JOBS[name]
    logits, targets = predictions(spec, 24, seed=8)
    for factor in (0.0, 1.0, 1e30):
        packed = evaluate(spec, factor * logits, targets, [f"p{i}" for i in range(24)]).pack()
        metrics = make_task(spec).metrics()
        assert (np.abs(packed) <= metrics.limits(24)).all()
        counts = metrics.counts()
        assert (packed[counts] == packed[counts].round()).all()
        assert (metrics.limits(48) == 2 * metrics.limits(24)).all()


@pytest.mark.parametrize("name", ["binary", "multi-class", "multi-label"])
@pytest.mark.parametrize("bins", [1, 2, 5])
def test_few_bins_add_up_and_one_bin_says_nothing_of_the_order(name: str, bins: int) -> None:
    spec = JOBS[name]
    task = make_task(spec)
    edges = task.first_edges(bins)
    logits, targets = predictions(spec, 40, seed=9)
    total, pooled = task.metrics(edges), task.metrics(edges)
    judge_batch(task, pooled, logits, targets, ["p"] * 40)
    for part in (slice(0, 7), slice(7, 40)):
        site = task.metrics(edges)
        judge_batch(task, site, logits[part], targets[part], ["p"] * len(targets[part]))
        total.merge(site.pack())
    assert_same(total.compute(), pooled.compute())
    assert math.isnan(total.compute()["auroc"]) == (bins == 1)
    assert math.isnan(total.compute()["average_precision"]) == (bins == 1)


WRONG_EDGES = {
    "not a matrix": np.zeros(3),
    "single precision": np.zeros((4, 1), np.float32),
    "another class": np.zeros((3, 1)),
    "too many bins": np.tile(np.arange(6.0), (4, 1)),
    "not a number": np.full((4, 1), np.nan),
    "infinite": np.full((4, 1), np.inf),
    "huge": np.full((4, 1), 1e6),
    "equal": np.zeros((4, 2)),
    "falling": np.tile([1.0, 0.0], (4, 1)),
}


@pytest.mark.parametrize("edges", WRONG_EDGES.values(), ids=WRONG_EDGES)
def test_edges_from_elsewhere_are_checked(edges: Any) -> None:
    with pytest.raises(ValueError, match="edges of bins"):
        make_task(JOBS["multi-class"]).check_edges(edges, most=6)


def test_edges_that_fit_are_taken() -> None:
    task = make_task(JOBS["multi-class"])
    edges = task.first_edges(6)
    np.testing.assert_array_equal(task.check_edges(edges, most=6), edges)
    structures = make_task(JOBS["two structures"])
    assert structures.check_edges(structures.first_edges(6), most=6) is None
    with pytest.raises(ValueError, match="no scores"):
        structures.check_edges(edges, most=6)


def test_counts_stay_exact_and_sums_are_float64() -> None:
    metrics = make_task(JOBS["two structures"]).metrics()
    kinds = {(name == "overlap", key): state.dtype for name, key, state in states_of(metrics.metrics)}
    assert kinds == {
        (False, "total"): torch.float64,
        (False, "count"): torch.int64,
        (True, "total"): torch.int64,
    }
    packed = metrics.pack()
    packed[:] = 2.0**52
    metrics.merge(packed)
    assert (metrics.pack() == 2.0**52).all()


@pytest.mark.parametrize("name", ["multi-class", "two structures"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 0.5, 1e300])
def test_bad_states_are_refused_and_change_nothing(name: str, value: float) -> None:
    spec = JOBS[name]
    logits, targets = predictions(spec, 6, seed=0)
    metrics = evaluate(spec, logits, targets, ["p"] * 6)
    before = metrics.pack()
    bad = before.copy()
    bad[-1] = value  # the last state of either is a count
    with pytest.raises(ValueError, match=r"metric states: .*(not finite|count)"):
        metrics.merge(bad)
    np.testing.assert_array_equal(metrics.pack(), before)


def test_states_of_another_job_are_refused() -> None:
    packed = make_task(JOBS["binary"]).metrics().pack()
    with pytest.raises(ValueError, match="expected"):
        make_task(JOBS["multi-class"]).metrics().merge(packed)
    with pytest.raises(ValueError, match="expected"):
        make_task(JOBS["binary"]).metrics().merge(packed[:, None])


def test_a_diverged_loss_is_refused() -> None:
    logits, targets = predictions(JOBS["binary"], 8, seed=0)
    site = evaluate(JOBS["binary"], torch.full_like(logits, math.nan), targets, ["p"] * 8)
    with pytest.raises(ValueError, match="not finite"):
        make_task(JOBS["binary"]).metrics().merge(site.pack())


def test_multi_class_agrees_with_scikit_learn() -> None:
    spec = JOBS["multi-class"]
    logits, targets = predictions(spec, 300, seed=1)
    logits, targets = logits[targets != 2], targets[targets != 2]  # 'c' is predicted and never occurs
    found = evaluate(spec, logits, targets, ["p"] * len(targets)).compute()
    truth, decided = targets.numpy(), logits.argmax(1).numpy()
    scores = logits.double().softmax(1)
    occurring = np.unique(truth)
    options: dict[str, Any] = {"labels": occurring, "average": "macro", "zero_division": 0}
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, decided))
    recall = reference.recall_score(truth, decided, **options)
    assert found["balanced_accuracy"] == pytest.approx(recall)
    assert found["sensitivity"] == pytest.approx(recall)
    assert found["precision"] == pytest.approx(reference.precision_score(truth, decided, **options))
    assert found["f1"] == pytest.approx(reference.f1_score(truth, decided, **options))
    assert math.isnan(found["sensitivity/c"])
    assert math.isnan(found["auroc/c"])
    assert found["specificity/c"] == pytest.approx((decided != 2).mean())
    exact = [reference.roc_auc_score(truth == k, scores[:, k]) for k in occurring]
    assert found["auroc"] == pytest.approx(np.mean(exact), abs=1e-3)
    precisions = [reference.average_precision_score(truth == k, scores[:, k]) for k in occurring]
    assert found["average_precision"] == pytest.approx(np.mean(precisions), abs=2e-3)
    expected = multiclass_calibration_error(scores, targets, num_classes=4, n_bins=15)
    assert found["calibration_error"] == pytest.approx(float(expected))


def test_the_second_of_two_classes_is_the_positive_one() -> None:
    spec = JOBS["binary"]
    logits, targets = predictions(spec, 200, seed=2)
    found = evaluate(spec, logits, targets, ["p"] * 200).compute()
    truth, decided = targets.numpy(), logits.argmax(1).numpy()
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, decided))
    assert found["f1"] == pytest.approx(reference.f1_score(truth, decided))
    assert found["precision"] == pytest.approx(reference.precision_score(truth, decided))
    assert found["sensitivity"] == pytest.approx(reference.recall_score(truth, decided))
    assert found["specificity"] == pytest.approx(reference.recall_score(truth, decided, pos_label=0))
    scores = logits.double().softmax(1)[:, 1]
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(truth, scores), abs=1e-3)
    assert found["average_precision"] == pytest.approx(
        reference.average_precision_score(truth, scores), abs=2e-3
    )


def test_multi_label_agrees_with_scikit_learn() -> None:
    spec = JOBS["multi-label"]
    logits, targets = predictions(spec, 200, seed=3)
    found = evaluate(spec, logits, targets, ["p"] * 200).compute()
    truth, scores = targets.numpy(), logits.double().sigmoid()
    decided = (scores > 0.5).numpy()
    assert found["accuracy"] == pytest.approx((truth == decided).mean())
    assert found["f1"] == pytest.approx(reference.f1_score(truth, decided, average="macro"))
    balanced = [reference.balanced_accuracy_score(truth[:, k], decided[:, k]) for k in range(3)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(balanced))
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(truth, scores), abs=1e-3)
    expected = binary_calibration_error(scores.flatten(), targets.long().flatten(), n_bins=15)
    assert found["calibration_error"] == pytest.approx(float(expected))


def test_auroc_of_certain_and_of_rare_scores() -> None:
    """Scores crowd at 0 and 1; AUROC depends on their order, also there."""
    truth = torch.tensor([0, 0, 0, 1, 1, 1] * 20)
    margin = torch.tensor([-9.0, -8.0, 9.0, -8.5, -7.0, 9.5] * 20)
    logits = torch.stack([torch.zeros_like(margin), margin], dim=1)
    found = evaluate(JOBS["binary"], logits, truth, ["p"] * 120).compute()
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(truth, margin), abs=1e-6)


def test_one_class_only_leaves_undefined_what_needs_the_other() -> None:
    logits, _ = predictions(JOBS["binary"], 20, seed=4)
    found = evaluate(JOBS["binary"], logits, torch.zeros(20, dtype=torch.int64), ["p"] * 20).compute()
    undefined = {name for name, value in found.items() if math.isnan(value)}
    assert undefined == {"precision", "sensitivity", "f1", "auroc", "average_precision"}
    assert found["balanced_accuracy"] == found["accuracy"] == found["specificity"]


@pytest.mark.filterwarnings("ignore:the (ground truth|prediction) of class")
@pytest.mark.parametrize("name", ["two structures", "volumes"])
def test_overlap_and_distances_agree_with_monai(name: str) -> None:
    spec = JOBS[name]
    logits, targets = predictions(spec, 24, seed=5)
    spacing = (2.0, 0.7, 1.5)[: spec.data.dimensions]
    patients = [f"p{i % 5}" for i in range(24)]
    found = evaluate(spec, logits, targets, patients, spacing=spacing).compute()
    predicted = one_hot(logits.argmax(1), 3).movedim(-1, 1)
    truth = one_hot(targets.long(), 3).movedim(-1, 1)

    def pooled(rows: list[int]) -> tuple[Tensor, Tensor]:
        return predicted[rows].movedim(0, 2)[None].flatten(2), truth[rows].movedim(0, 2)[None].flatten(2)

    everything = pooled(list(range(24)))
    options = {"include_background": False, "ignore_empty": False}
    dice = compute_dice(*everything, **options)[0]
    assert found["dice_global/core"] == pytest.approx(float(dice[0]), abs=1e-6)
    assert found["dice_global"] == pytest.approx(float(dice.mean()), abs=1e-6)
    assert found["iou"] == pytest.approx(float(compute_iou(*everything, **options).mean()), abs=1e-6)
    by_image = compute_dice(predicted, truth, **options)
    assert found["dice_image"] == pytest.approx(float(by_image.mean()), abs=1e-6)
    by_patient = [compute_dice(*pooled(list(range(p, 24, 5))), **options) for p in range(5)]
    assert found["dice_patient"] == pytest.approx(float(torch.cat(by_patient).mean()), abs=1e-6)
    hd95 = compute_hausdorff_distance(predicted, truth, percentile=95, spacing=spacing).double()
    hd95[~hd95.isfinite()] = math.nan
    assert found["hd95"] == pytest.approx(float(hd95.nanmean(0).nanmean()), abs=1e-6)
    surface = compute_surface_dice(predicted, truth, class_thresholds=[1.0, 1.0], spacing=spacing).double()
    assert found["surface_dice"] == pytest.approx(float(surface.nanmean(0).mean()), abs=1e-6)


def blob(*boxes: tuple[int, int, int, int] | None) -> Tensor:
    masks = torch.zeros(len(boxes), 16, 16, dtype=torch.uint8)
    for mask, box in zip(masks, boxes, strict=True):
        if box:
            mask[box[0] : box[1], box[2] : box[3]] = 1
    return masks


def judge(predicted: Tensor, truth: Tensor, patients: list[str], spacing: Any = None) -> dict[str, float]:
    logits = one_hot(predicted.long(), 2).movedim(-1, 1).float()
    return evaluate(JOBS["one structure"], logits, truth, patients, spacing=spacing).compute()


def test_an_image_without_foreground() -> None:
    """What docs/metrics.md says, image by image."""
    box = (4, 8, 4, 8)
    rightly_empty = judge(blob(None), blob(None), ["p"])
    assert rightly_empty["dice_image"] == rightly_empty["dice_patient"] == 1
    undefined = {name for name, value in rightly_empty.items() if math.isnan(value)}
    assert undefined == {"dice_global", "iou", "hd95", "hd95_undefined", "surface_dice"}
    for predicted, truth in ((box, None), (None, box)):
        wrong = judge(blob(predicted), blob(truth), ["p"])
        assert wrong["dice_image"] == wrong["dice_patient"] == wrong["dice_global"] == wrong["iou"] == 0
        assert wrong["surface_dice"] == 0
        assert wrong["hd95_undefined"] == 1
        assert math.isnan(wrong["hd95"])
    mixed = judge(blob(box, None, None, box), blob(box, None, box, box), ["p", "p", "q", "q"])
    assert mixed["dice_image"] == pytest.approx(3 / 4)
    assert mixed["dice_patient"] == pytest.approx((1 + 2 * 16 / (2 * 16 + 16)) / 2)
    assert mixed["dice_global"] == pytest.approx(2 * 32 / (2 * 32 + 16))
    assert mixed["hd95"] == 0
    assert mixed["hd95_undefined"] == pytest.approx(1 / 3)
    assert mixed["surface_dice"] == pytest.approx(2 / 3)


def test_distances_are_in_millimetres_where_the_spacing_is_known() -> None:
    truth, predicted = blob((4, 8, 4, 8)), blob((7, 11, 4, 8))
    assert judge(predicted, truth, ["p"])["hd95"] == pytest.approx(3)
    assert judge(predicted, truth, ["p"], spacing=(2.0, 1.0))["hd95"] == pytest.approx(6)


def test_packing_does_not_end_a_patient() -> None:
    """A site may report between batches; the patient is still counted once."""
    spec = JOBS["one structure"]
    logits, targets = predictions(spec, 12, seed=6)
    task, metrics = make_task(spec), make_task(spec).metrics()
    for i in range(12):
        judge_batch(task, metrics, logits[i : i + 1], targets[i : i + 1], ["p"])
        metrics.pack()
        metrics.compute()
    assert_same(metrics.compute(), evaluate(spec, logits, targets, ["p"] * 12).compute())


def test_which_metrics_fall() -> None:
    falling = {spec.name for job in JOBS.values() for spec in metric_specs(job) if spec.lower_is_better}
    assert falling == {"loss", "calibration_error", "hd95", "hd95_undefined"}
    structures = JOBS["two structures"]
    assert is_better(structures, "hd95/edema", 1.0, 2.0)
    assert is_better(structures, "dice_global/edema", 0.2, 0.1)
