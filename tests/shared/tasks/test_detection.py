"""Detection: boxes and maps, which boxes are right, and figures that add up over sites."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from client.data.kinds import kinds_of
from client.data.manifest.splits import CohortKey
from client.data.motion.steps import Flip, QuarterTurns
from client.guard.bounded_sums import bound
from client.guard.bounds import Bounds
from client.guard.metric_release import withhold
from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.metrics.spec import metric_names
from shared.metrics.states import MetricSet
from shared.tasks import make_task
from shared.tasks.detection.maps import PRIOR, decode, encode, losses
from shared.tasks.detection.overlap import found, overlaps, suppress
from tests.jobs import make_job
from tests.silent import silent

LEAST = 5


def job(**options: Any) -> JobSpec:
    return make_job(**{"task_name": "detection", "task_classes": ["a", "b"]} | options)


def map_of(boxes: list[Tensor], shape: tuple[int, ...], classes: int, stride: int) -> Tensor:
    """Return the map (B, K + 2 D, *S) that a perfect network gives."""
    targets = encode(boxes, shape, classes, stride)
    axes = len(shape)
    maps = torch.zeros(len(boxes), classes + 2 * axes, *shape)
    maps[:, :classes] = torch.logit(targets.heat.clamp(1e-4, 1 - 1e-4)) - PRIOR
    place = (targets.image, slice(None), *targets.cells.unbind(1))
    ends = torch.cat([targets.offsets, targets.sizes.log()], dim=1)
    found = maps[place]
    found[:, classes:] = ends
    maps[place] = found
    return maps


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Tensor], tuple[int, ...], int]:
    """Draw boxes of two images, one at most in each block of 4 x 4 cells, and the pixels of a cell."""
    axes, stride = draw(st.sampled_from([2, 3])), draw(st.sampled_from([1, 2, 4]))
    blocks = draw(st.lists(st.integers(2, 4), min_size=axes, max_size=axes))
    shape = tuple(4 * count for count in blocks)
    images = []
    for _ in range(2):
        where = st.tuples(*(st.integers(0, count - 1) for count in blocks))
        boxes = []
        for block in sorted(draw(st.sets(where, max_size=5))):
            low, high = [], []
            for number, length in zip(block, shape, strict=True):
                middle = 4 * number + draw(st.floats(1, 2.875, width=16))
                half = min(draw(st.floats(0.25, 6, width=16)), middle, length - middle)
                low.append((middle - half) * stride)
                high.append((middle + half) * stride)
            boxes.append([*low, *high, draw(st.integers(0, 1))])
        images.append(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 2 * axes + 1))
    return images, shape, stride


@given(scenes())
def test_what_is_decoded_is_what_was_encoded(scene: tuple[list[Tensor], tuple[int, ...], int]) -> None:
    images, shape, stride = scene
    maps = map_of(images, shape, 2, stride)
    size = [stride * length for length in shape]
    detections = decode(maps, size, 2, stride, most=10, largest_overlap=1.0)
    for number, boxes in enumerate(images):
        sure = detections.scores[number] > 5
        told = torch.cat(
            [detections.boxes[number][sure], detections.classes[number][sure][:, None].float()], dim=1
        )
        assert len(told) == len(boxes)
        for box in boxes:
            assert (told - box).abs().amax(dim=1).min() < 1e-2 * stride


@given(scenes())
def test_a_perfect_map_costs_next_to_nothing_and_each_image_pays_for_itself(
    scene: tuple[list[Tensor], tuple[int, ...], int],
) -> None:
    images, shape, stride = scene
    maps = map_of(images, shape, 2, stride)
    assert (losses(maps, images, 2, stride) < 0.2).all()
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(1))
    both = losses(noise, images, 2, stride)
    assert all(loss > 1 for loss, own in zip(both, images, strict=True) if len(own))
    for number in (0, 1):
        alone = losses(noise[number : number + 1], images[number : number + 1], 2, stride)
        torch.testing.assert_close(alone[0], both[number])


def test_the_focal_loss_is_that_of_the_paper() -> None:
    """Equation 1 of Zhou et al., cell by cell, over the number of boxes."""
    boxes = [torch.tensor([[1.0, 2, 6, 7, 0], [8, 8, 13, 11, 0]])]
    logits = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    targets = encode(boxes, (16, 16), 1, 1)
    ends = torch.zeros(1, 4, 16, 16)
    total = 0.0
    for score, truth in zip((logits + PRIOR).sigmoid().flatten(), targets.heat.flatten(), strict=True):
        if truth == 1:
            total -= float((1 - score) ** 2 * score.log())
        else:
            total -= float((1 - truth) ** 4 * score**2 * (1 - score).log())
    for offset, size in zip(targets.offsets, targets.sizes, strict=True):
        total += float(offset.abs().sum() + size.log().abs().sum())
    found = losses(torch.cat([logits, ends], dim=1), boxes, 1, 1)
    assert float(found) == pytest.approx(total / 2, rel=1e-4)


@pytest.mark.parametrize("axes", [2, 3])
@given(seed=st.integers(0, 2**32 - 1))
def test_the_map_of_moved_boxes_is_the_moved_map(axes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (12, 12, 9)[:axes]
    low = rng.integers(0, 6, (3, axes))
    high = low + 1 + 2 * rng.integers(0, 2, (3, axes))  # an odd length has its middle in a cell
    boxes = torch.from_numpy(np.concatenate([low, high, rng.integers(0, 2, (3, 1))], axis=1)).float()
    steps = [Flip((-axes,), shape), QuarterTurns(int(rng.integers(1, 4)), shape), Flip((-1,), shape)]
    data = {"data_dimensions": axes, "data_size": list(shape), "data_augment": []}
    moved = kinds_of(job(**data))["boxes"].move(boxes, steps)
    heat = encode([boxes], shape, 2, 1).heat[0]
    for step in steps:
        heat = step.picture(heat)
    torch.testing.assert_close(encode([moved], shape, 2, 1).heat[0], heat)


def test_overlaps_are_intersections_over_unions() -> None:
    first = torch.tensor([[0.0, 0, 4, 4], [10, 10, 11, 11]])
    second = torch.tensor([[2.0, 0, 6, 4], [0, 0, 4, 4], [20, 20, 30, 30]])
    torch.testing.assert_close(overlaps(first, second), torch.tensor([[1 / 3, 1, 0], [0, 0, 0]]))
    volumes = torch.tensor([[0.0, 0, 0, 2, 2, 2]]), torch.tensor([[0.0, 0, 1, 2, 2, 3]])
    assert float(overlaps(*volumes)) == pytest.approx(1 / 3)


def test_of_boxes_on_each_other_the_better_one_of_a_class_is_left() -> None:
    box, beside, far = [0.0, 0, 10, 10], [1.0, 0, 11, 10], [20.0, 20, 30, 30]
    boxes = torch.tensor([[box, beside, beside, far, [0, 6, 10, 16]]])
    left = suppress(boxes, torch.tensor([[0, 0, 1, 0, 0]]), 0.5)
    assert left.tolist() == [[True, False, True, True, True]]


def test_a_true_box_is_found_once_by_the_best() -> None:
    truth = torch.tensor([[0.0, 0, 10, 10], [0, 8, 10, 18]])
    boxes = torch.tensor([[0.0, 1, 10, 11], [0, 0, 10, 10], [0, 8, 10, 18], [50, 50, 60, 60]])
    assert found(boxes, truth, 0.3).tolist() == [True, False, True, False]
    assert found(boxes[:0], truth, 0.3).tolist() == []
    assert found(boxes, truth[:0], 0.3).tolist() == [False] * 4


# --- figures


def drawn(seed: int, images: int, most: int) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Draw predictions of two classes, a good part of them near true boxes, and those boxes."""
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(0, 100, (images, most, 4)).astype(np.float32)
    boxes[..., 2:] = boxes[..., :2] + rng.uniform(5, 20, (images, most, 2))
    classes = rng.integers(0, 2, (images, most))
    scores = -np.sort(-rng.normal(-4, 1.5, (images, most)), axis=1)
    truth = []
    for number in range(images):
        near = boxes[number, : rng.integers(0, 4)] + rng.uniform(-4, 4, 4)
        kinds = classes[number, : len(near), None]
        missed = np.array([[200, 200, 210, 210, rng.integers(0, 2)]])[: rng.integers(0, 2)]
        truth.append(torch.from_numpy(np.concatenate([np.hstack([near, kinds]), missed])).float())
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    predicted = {"boxes": torch.from_numpy(boxes), "scores": torch.from_numpy(scores).float()}
    return predicted | {"classes": torch.from_numpy(classes)}, truth


def judged(
    spec: JobSpec, predicted: dict[str, Tensor], truth: list[Tensor], patients: list[str], part: slice
) -> MetricSet:
    metrics = make_task(spec).metrics()
    some = {name: values[part] for name, values in predicted.items()}
    batch = Batch({"boxes": truth[part]}, patients[part])
    metrics.update(some, batch, torch.linspace(1, 2, len(truth))[part])
    return metrics


def plain(
    predicted: dict[str, Tensor], truth: list[Tensor], kind: int, least: float
) -> tuple[float, float, int]:
    """Return average precision, and sensitivity at one wrong box for each image, box by box."""
    ranked, total = [], 0
    for number, true in enumerate(truth):
        own = [box[:4].tolist() for box in true if box[4] == kind]
        total += len(own)
        columns = [predicted[name][number] for name in ("scores", "boxes", "classes")]
        rows = zip(*columns, strict=True)
        for score, box, of in sorted(rows, key=lambda row: -row[0]):
            if of != kind or not score.isfinite():
                continue
            best, place = max([(iou(box.tolist(), other), i) for i, other in enumerate(own)], default=(0, 0))
            ranked.append((float(score), best >= least))
            if best >= least:
                own.pop(place)
    ranked.sort(key=lambda pair: -pair[0])
    right = precision = sensitivity = 0.0
    for rank, (_, is_right) in enumerate(ranked, 1):
        right += is_right
        precision += is_right * right / rank
        if rank - right <= len(truth):
            sensitivity = right
    return precision / total, sensitivity / total, total


def iou(first: list[float], second: list[float]) -> float:
    sides = [
        max(0.0, min(first[axis + 2], second[axis + 2]) - max(first[axis], second[axis])) for axis in (0, 1)
    ]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return math.prod(sides) / (sum(areas) - math.prod(sides))


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_going_through_all_boxes(seed: int) -> None:
    predicted, truth = drawn(seed, 60, 12)
    spec = job(task_most_boxes=12, evaluation={"bins": 1000})
    values = judged(spec, predicted, truth, ["p"] * 60, slice(None)).compute()
    assert tuple(values) == metric_names(spec)
    for kind, label in enumerate("ab"):
        for name, least in (("ap30", 0.3), ("ap50", 0.5)):
            precision, sensitivity, _ = plain(predicted, truth, kind, least)
            assert values[f"{name}/{label}"] == pytest.approx(precision, abs=0.01)
            if name == "ap30":
                assert values[f"sensitivity_1fp/{label}"] == pytest.approx(sensitivity, abs=0.02)
    assert values["ap30"] == pytest.approx((values["ap30/a"] + values["ap30/b"]) / 2)
    assert values["ap50"] < values["ap30"]


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 24), max_size=3))
@settings(max_examples=25)
def test_the_states_of_sites_add_up_to_those_of_all_images(seed: int, cuts: list[int]) -> None:
    predicted, truth = drawn(seed, 24, 8)
    patients = [f"p{number // 2}" for number in range(24)]
    spec = job(task_most_boxes=8)
    pooled = judged(spec, predicted, truth, patients, slice(None))
    total = make_task(spec).metrics()
    ends = [0, *sorted(cuts), 24]
    for first, last in pairwise(ends):
        if first < last:
            part = judged(spec, predicted, truth, patients, slice(first, last))
            assert (part.pack() <= part.limits(last - first)).all()
            total.merge(part.pack())
    np.testing.assert_array_equal(total.pack()[1:], pooled.pack()[1:])
    assert total.compute() == pytest.approx(pooled.compute(), abs=1e-6, nan_ok=True)


def test_what_is_undefined_is_no_number_and_what_is_missed_is_zero() -> None:
    predicted, _ = drawn(3, 30, 8)
    spec = job(task_most_boxes=8)
    nothing = [torch.zeros(0, 5)] * 30
    values = judged(spec, predicted, nothing, ["p"] * 30, slice(None)).compute()
    assert all(math.isnan(values[name]) for name in values if name != "loss")
    beyond = [torch.tensor([[300.0, 300, 310, 310, 0]])] * 30
    values = judged(spec, predicted, beyond, ["p"] * 30, slice(None)).compute()
    assert values["ap30/a"] == values["ap30"] == values["sensitivity_1fp"] == 0
    assert math.isnan(values["ap30/b"])
    assert math.isnan(make_task(spec).metrics().compute()["ap30"])


@pytest.mark.parametrize("patients", [1, LEAST - 1, 8, 60])
def test_no_count_that_leaves_is_of_fewer_patients(patients: int) -> None:
    predicted, truth = drawn(patients, 120, 8)
    names = [f"p{number % patients}" for number in range(120)]
    spec = job(task_most_boxes=8)
    metrics = judged(spec, predicted, truth, names, slice(None))
    exact = metrics.compute()
    bound(metrics, silent(LEAST), spec.evaluation.bins)
    withhold(metrics, silent(LEAST), spec.evaluation.bins)
    scores = metrics.scores()
    for name, histogram in metrics.metrics.items():
        if name not in scores:
            continue
        images = metrics.metrics[scores[name].beside[0]].compute()
        counts = histogram.compute()[:, 0]
        assert bool(images > 0) == bool(counts.any())
        assert not ((counts > 0) & (counts < LEAST)).any()
        assert patients >= LEAST or not counts.any()
    told = metrics.compute()
    if patients == 60:
        assert told["ap30"] == pytest.approx(exact["ap30"], abs=0.15)
    else:
        assert math.isnan(told["ap30"])


def test_a_model_made_to_point_at_one_patient_counts_nobodys_boxes() -> None:
    """Everybody has one wrong box in each of eight bins but one patient, who has as many as a pixel says."""
    spec = job(task_classes=["a"], task_most_boxes=40)

    def told(pixel: int) -> np.ndarray[Any, Any]:
        metrics = make_task(spec).metrics()
        for number in range(60):
            scores = torch.linspace(-6, 3, 8)
            if number == 17:
                scores = scores.repeat_interleave(pixel)
            boxes = torch.zeros(1, len(scores), 4)
            kinds = torch.zeros(1, len(scores), dtype=torch.int64)
            predicted = {"boxes": boxes, "scores": scores[None], "classes": kinds}
            truth = torch.tensor([[50.0, 50, 60, 60, 0]])
            metrics.update(predicted, Batch({"boxes": [truth]}, [f"p{number}"]), torch.ones(1))
        bounds = Bounds(LEAST, CohortKey.drawn(1).seed)
        bound(metrics, bounds, spec.evaluation.bins)
        masked = metrics.pack()
        withhold(metrics, bounds, spec.evaluation.bins)
        assert metrics.metrics["ap30/a"].compute().any()
        return np.concatenate([masked, metrics.pack()])

    np.testing.assert_array_equal(told(1), told(4))


@pytest.mark.parametrize("each", [1, 5])
@pytest.mark.parametrize("shown", [[], [0, 3, 4], list(range(8))])
def test_where_nobody_else_has_boxes_a_patient_shows_in_which_bins_and_not_how_many(shown, each) -> None:
    """What is left behind masks, as docs/metrics.md says: one bit for each bin. In the open nothing is."""
    spec = job(task_classes=["a"], task_most_boxes=40)
    metrics = make_task(spec).metrics()
    for number in range(60):
        scores = torch.linspace(-6, 3, 8)[shown if number == 17 else []].repeat_interleave(each)
        predicted = {
            "boxes": torch.zeros(1, len(scores), 4),
            "scores": scores[None],
            "classes": torch.zeros(1, len(scores), dtype=torch.int64),
        }
        metrics.update(predicted, Batch({"boxes": [torch.zeros(0, 5)]}, [f"p{number}"]), torch.ones(1))
    bounds = Bounds(LEAST, CohortKey.drawn(1).seed)
    bound(metrics, bounds, spec.evaluation.bins)
    masked = metrics.metrics["ap30/a"].compute()
    assert sorted(masked[masked > 0].tolist()) == [1] * len(shown)
    withhold(metrics, bounds, spec.evaluation.bins)
    assert not metrics.metrics["ap30/a"].compute().any()


# --- the task


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_classes": ["a", "a"]}, "classes: a name appears twice"),
        ({"task_boxes": ["x0", "y0"]}, "[task] boxes: names 2 columns"),
        ({"task_most_boxes": 65}, "[task] most_boxes: 65 can't be found in a map of 64 cells"),
        ({"task_stride": 3}, "[task] stride: must be 1, 2 or 4"),
        ({"model": {"name": "cnn"}}, "[model] name: 'cnn' is not for detection in 2D"),
        ({"evaluation": {"select_best": "ap3"}}, "unknown metric 'ap3'; did you mean 'ap30'?"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as caught:
        job(**options)
    assert said in str(caught.value)


def test_a_task_predicts_boxes_and_leaves_the_network_as_it_was() -> None:
    spec = job(task_stride=2, data_size=[30, 33])
    model = nn.Sequential(nn.Conv2d(1, 6, 1), nn.BatchNorm2d(6)).train()
    model.divisor = 4  # type: ignore[assignment]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    batch = Batch({"image": torch.randn(2, 1, 30, 33), "boxes": [torch.zeros(0, 5)] * 2}, ["p", "q"])
    task = make_task(spec)
    predicted = task.predict({"model": model}, batch)
    assert predicted["maps"].shape == (2, 6, 15, 17)
    assert predicted["boxes"].shape == (2, 10, 4)
    assert not any(value.requires_grad for value in predicted.values())
    assert model.training
    torch.testing.assert_close(model.state_dict(), before)
    assert (predicted["boxes"][..., :2] <= predicted["boxes"][..., 2:]).all()
    assert (predicted["boxes"][..., 3] <= 33).all()
    assert task.sample_losses({"model": model}, batch, predicted).shape == (2,)


def test_an_image_larger_than_the_patch_is_covered_by_windows() -> None:
    spec = job(task_classes=["a"], data_size=None, data_patch=[16, 16], task_stride=1)
    truth = torch.tensor([[20.0, 30, 31, 35, 0], [3, 2, 8, 9, 0]])
    maps = map_of([truth], (40, 48), 1, 1)

    class Given(nn.Module):  # its input is the map
        def forward(self, images: Tensor) -> Tensor:
            assert images.shape[2:] == (16, 16)
            return images

    batch = Batch({"image": maps, "boxes": [truth]}, ["p"])
    predicted = make_task(spec).predict({"model": Given()}, batch)
    torch.testing.assert_close(predicted["boxes"][0, :2].sort(dim=0).values, truth[:, :4].sort(dim=0).values)


def test_a_network_that_computes_no_numbers_finds_nothing() -> None:
    detections = decode(torch.full((1, 6, 8, 8), math.nan), (8, 8), 2, 1, most=5, largest_overlap=0.5)
    assert not detections.scores.isfinite().any()
