"""Instances: depth and back, panoptic quality by hand, figures that add up over sites."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.guard.bounded_sums import bound
from client.guard.metric_release import withhold
from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.metrics.spec import metric_names
from shared.metrics.states import MetricSet
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from shared.tasks.instances import directions
from shared.tasks.instances.maps import depth_of, instances_of, losses
from shared.tasks.instances.metrics import compare
from tests.jobs import make_job
from tests.silent import silent

LEAST = 5


def job(**options: Any) -> JobSpec:
    return make_job(**{"task_name": "instances"} | options)


def balls(shape: tuple[int, ...], *centres: tuple[int, ...], radius: float = 4.0) -> NDArray[np.int32]:
    """Return balls with the numbers 1 to N; a pixel within several is of the nearest."""
    places = np.stack(np.indices(shape)).reshape(len(shape), -1).T
    away = np.stack([np.linalg.norm(places - centre, axis=1) for centre in np.array(centres)])
    return np.where(away.min(0) <= radius, away.argmin(0) + 1, 0).reshape(shape).astype(np.int32)


def perfect(numbers: NDArray[np.int32]) -> torch.Tensor:
    """Return the maps (1, 2, *S) of a perfect network."""
    shares = np.stack([(numbers > 0).astype(np.float32), depth_of(numbers)])
    return torch.logit(torch.from_numpy(shares)[None].clamp(1e-4, 1 - 1e-4))


@pytest.mark.parametrize("shape", [(24, 24), (16, 20, 18)])
def test_objects_that_touch_are_told_apart_by_their_depth(shape: tuple[int, ...]) -> None:
    middle = tuple(length // 2 for length in shape)
    beside = (middle[0], middle[1] - 8, *middle[2:])
    numbers = balls(shape, middle, beside, (0,) * len(shape))
    maps = perfect(numbers)
    found = instances_of(maps, 0.5, 4)[0].numpy()
    assert compare(found, numbers).objects == (3, 0, 0)
    assert compare(found, numbers).quality > 0.95
    assert found.max() == 3
    pieces = instances_of(maps[:, :1], 0.5, 4)[0].numpy()  # the two that touch are one
    assert compare(pieces, numbers).objects[0] < 3


@pytest.mark.parametrize("shape", [(24, 24), (16, 20, 18)])
def test_objects_that_touch_are_told_apart_by_the_directions_in_them(shape: tuple[int, ...]) -> None:
    middle = tuple(length // 2 for length in shape)
    numbers = balls(shape, middle, (middle[0], middle[1] - 8, *middle[2:]), (0,) * len(shape))
    inside = torch.from_numpy(np.where(numbers > 0, 5.0, -5.0)[None]).float()
    maps = torch.cat(
        [inside, torch.from_numpy(directions.directions_of(numbers)).clamp(-0.999, 0.999).atanh()]
    )[None]
    found = directions.instances_by_directions(maps, 0.05, 4)[0].numpy()
    assert compare(found, numbers).objects == (3, 0, 0)
    assert compare(found, numbers).quality > 0.95
    truth, true = torch.from_numpy(numbers)[None], torch.from_numpy(directions.directions_of(numbers))[None]
    near = directions.losses(maps, truth, true)
    assert float(near) < 0.05
    assert (directions.losses(torch.cat([maps[:, :1], -maps[:, 1:]], 1), truth, true) > near + 0.1).all()
    assert not directions.instances_by_directions(-maps, 0.05, 4)[0].numpy()[numbers > 0].any()


def test_directions_go_from_one_end_of_an_object_to_the_other() -> None:
    numbers = np.zeros((3, 9), np.int32)
    numbers[:, 1:6], numbers[:, 6:8] = 4, 9
    down, right = directions.directions_of(numbers)
    assert right[1].tolist() == pytest.approx([0, -1, -0.5, 0, 0.5, 1, -1, 1, 0])
    assert down[:, 2].tolist() == pytest.approx([-1, 0, 1])
    assert not directions.directions_of(np.zeros((4, 4), np.int32)).any()


def test_directions_are_learnt_and_each_image_pays_for_itself() -> None:
    spec = job(task_apart="directions", data_augment=None)
    task, models = make_task(spec), models_of(build_model(spec))
    numbers = torch.from_numpy(np.stack([balls((16, 16), (5, 5), (5, 12)), np.zeros((16, 16), np.int32)]))
    image = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    batch = Batch({"image": image, "instances": numbers}, ["a", "b"])
    prepared = task.prepare(batch, 0)
    predicted = task.predict(models, prepared)
    both = task.sample_losses(models, prepared, predicted)
    for number in (0, 1):
        one = Batch({name: prepared[name][number : number + 1] for name in prepared.values}, ["a"])
        alone = task.losses({"model": models["model"].eval()}, one)
        torch.testing.assert_close(alone[0], both[number], rtol=1e-4, atol=1e-5)
    assert predicted["found"].shape == numbers.shape
    assert "seam" in task.program(models).says


def test_depth_is_one_in_the_middle_and_falls_to_the_edge_and_between_two() -> None:
    numbers = np.zeros((3, 11), np.int32)
    numbers[:, 1:6], numbers[:, 6:9] = 1, 2
    row = depth_of(numbers)[1].tolist()
    assert row == pytest.approx([0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0.5, 1, 0.5, 0, 0])
    cut = np.zeros((3, 5), np.int32)
    cut[:, :3] = 7  # the image's edge is not the object's
    assert depth_of(cut)[1].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0, 0])
    assert not depth_of(np.zeros((4, 4), np.int32)).any()
    assert (depth_of(np.ones((4, 4), np.int32)) == 1).all()


def test_a_perfect_map_costs_next_to_nothing_and_each_image_pays_for_itself() -> None:
    images = [balls((16, 16), (5, 5), (5, 12)), np.zeros((16, 16), np.int32)]
    truth = torch.from_numpy(np.stack(images))
    depth = torch.from_numpy(np.stack([depth_of(own) for own in images]))
    assert (losses(torch.cat([perfect(own) for own in images]), truth, depth) < 0.05).all()
    noise = torch.randn(2, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    both = losses(noise, truth, depth)
    assert (both > 0.3).all()
    for number in (0, 1):
        part = slice(number, number + 1)
        torch.testing.assert_close(losses(noise[part], truth[part], depth[part])[0], both[number])


def test_the_smallest_are_left_out_and_numbers_stay_without_a_gap() -> None:
    numbers = np.zeros((12, 12), np.int32)
    numbers[0, 0], numbers[4:9, 4:9] = 1, 2
    found = instances_of(perfect(numbers), 0.5, 4)[0]
    assert found.unique().tolist() == [0, 1]
    assert (found[4:9, 4:9] == 1).all()
    assert not instances_of(torch.full((1, 2, 8, 8), -5.0), 0.5, 4).any()


def test_quality_is_that_of_the_papers() -> None:
    """By hand: one found with 12 of 20 pixels, one missed, one added; one more found is too small a part."""
    true, found = np.zeros((10, 20), np.int32), np.zeros((10, 20), np.int32)
    true[0, :16], found[0, 4:20] = 3, 9  # 12 shared, 20 in all
    true[2, :10], found[2, 5:15] = 5, 2  # 5 shared, 15 in all: a third
    true[4, :4] = 8
    found[6, :6] = 4
    one = compare(found, true)
    assert one.objects == (1, 2, 2)
    assert one.overlap == pytest.approx(0.6)
    assert one.quality == pytest.approx(0.6 / 3)
    assert one.pixels == (12 + 5, 20 + 15 + 4 + 6)
    nothing = np.zeros((4, 4), np.int32)
    assert math.isnan(compare(nothing, nothing).quality)
    assert compare(nothing, true[:4, :4]).objects == (0, 0, 2)
    assert compare(true[:4, :4], nothing).pixels == (0, 8)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.lists(st.integers(4, 9), min_size=2, max_size=3),
    most=st.integers(1, 5),
)
def test_comparing_is_what_a_slow_comparison_finds(seed: int, shape: list[int], most: int) -> None:
    rng = np.random.default_rng(seed)
    found, true = rng.integers(0, most + 1, (2, *shape)).astype(np.int32)
    one = compare(found, true)
    overlaps = []
    for mine in np.unique(found[found > 0]):
        for theirs in np.unique(true[true > 0]):
            first, second = found == mine, true == theirs
            overlaps.append((first & second).sum() / (first | second).sum())
    matched = [ratio for ratio in overlaps if ratio > 0.5]
    counts = [len(np.unique(own[own > 0])) for own in (found, true)]
    assert one.objects == (len(matched), counts[0] - len(matched), counts[1] - len(matched))
    assert one.overlap == pytest.approx(sum(matched))


def judged(spec: JobSpec, images: list[tuple[Any, Any]], patients: list[str]) -> MetricSet:
    task = make_task(spec)
    metrics = task.metrics()
    for (found, true), patient in zip(images, patients, strict=True):
        batch = Batch({"instances": torch.from_numpy(true)[None]}, [patient])
        task.update(metrics, {"found": torch.from_numpy(found)[None]}, batch, torch.tensor([0.5]))
    return metrics


def drawn(count: int) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(3)
    centres = [[tuple(rng.integers(2, 22, 2)) for _ in range(rng.integers(1, 5))] for _ in range(count)]
    return [
        (balls((24, 24), *own[: int(rng.integers(1, len(own) + 1))], radius=3.5), balls((24, 24), *own))
        for own in centres
    ]


@pytest.mark.parametrize("sizes", [[12], [5, 7], [1, 1, 10]], ids=str)
def test_states_of_sites_add_up_to_pooled(sizes: list[int]) -> None:
    spec, images = job(), drawn(12)
    patients = [f"p{number // 2}" for number in range(12)]
    pooled = judged(spec, images, patients).compute()
    total, start = make_task(spec).metrics(), 0
    for size in sizes:
        part = slice(start, start + size)
        total.merge(judged(spec, images[part], [f"{start}-{name}" for name in patients[part]]).pack())
        start += size
    assert total.compute() == pytest.approx(pooled, abs=1e-6)
    assert tuple(pooled) == metric_names(spec)
    assert 0 < pooled["pq"] <= pooled["rq"] < 1
    assert pooled["pq"] == pytest.approx(pooled["sq"] * pooled["rq"])


def test_what_leaves_a_hospital_is_bounded_for_each_patient() -> None:
    images = drawn(LEAST + 1)
    metrics = judged(job(), images, [f"p{number}" for number in range(len(images))])
    before = metrics.compute()
    limits = metrics.limits(len(images))
    assert (np.abs(metrics.pack()) <= limits).all()
    bound(metrics, silent(LEAST), 10)
    withhold(metrics, silent(LEAST), 10)
    assert metrics.compute()["rq"] == pytest.approx(before["rq"], abs=0.2)


def test_of_what_nothing_is_known_no_figure_is_told() -> None:
    empty = np.zeros((8, 8), np.int32)
    values = judged(job(), [(empty, empty)], ["p"]).compute()
    assert math.isnan(values["pq"])
    assert math.isnan(values["aji"])
    assert values["count_error"] == 0
