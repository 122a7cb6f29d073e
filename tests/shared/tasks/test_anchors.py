"""Boxes by anchors: what is decoded was encoded, which anchor is of which box, and what each image pays."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks.build import build_model, models_of
from shared.networks.retinanet import RetinaNetOptions
from shared.tasks import make_task
from shared.tasks.detection.anchors import anchor_losses, corners, decode_anchors, matched
from tests.jobs import make_job

SMALL = {"name": "retinanet", "channels": [8, 8, 16], "levels": 2, "features": 8}


def job(**options: Any) -> JobSpec:
    named = {"task_name": "detection", "task_classes": ["a", "b"], "task_method": "anchors", "model": SMALL}
    return make_job(**named | {"data_size": [32, 32]} | options)


def network_of(spec: JobSpec) -> float:
    """Return about how many numbers the job's network has, as its options say."""
    options = RetinaNetOptions(name="retinanet")
    return options.about_numbers(spec.task.networks(spec.data)["model"])


def perfect(boxes: Tensor, anchors: Tensor, classes: int) -> Tensor:
    """Return what anchors (A, K + 2 D) would give that are sure of the boxes (N, 2 D + 1)."""
    axes = anchors.shape[1] // 2
    found = torch.zeros(len(anchors), classes + 2 * axes)
    found[:, :classes] = -12
    which = matched(anchors, boxes[:, :-1])
    for anchor in (which >= 0).nonzero()[:, 0].tolist():
        low, high = boxes[which[anchor], :-1].reshape(2, axes)
        found[anchor, int(boxes[which[anchor], -1])] = 12
        found[anchor, classes : classes + axes] = ((low + high) / 2 - anchors[anchor, :axes]) / anchors[
            anchor, axes:
        ]
        found[anchor, classes + axes :] = ((high - low) / anchors[anchor, axes:]).log()
    return found


@pytest.mark.parametrize(
    ("size", "boxes"),
    [
        ([32, 32], [[2.0, 3, 12, 11, 0], [15, 4, 30, 17, 1], [20, 22, 25, 32, 0]]),
        ([32, 32, 16], [[2.0, 3, 1, 12, 11, 9, 0], [15, 4, 2, 30, 17, 14, 1]]),
    ],
)
def test_what_is_decoded_is_what_was_encoded_and_costs_next_to_nothing(size: list[int], boxes: Any) -> None:
    spec = job(data_size=size, data_dimensions=len(size))
    model = build_model(spec, seed=1)
    anchors, true = models_of(model)["model"].anchors(size), torch.tensor(boxes)
    found = perfect(true, anchors, 2)[None]
    detections = decode_anchors(found, anchors, size, 2, most=10, largest_overlap=0.5)
    sure = detections.scores[0] > 5
    told = torch.cat([detections.boxes[0][sure], detections.classes[0][sure][:, None].float()], dim=1)
    assert len(told) == len(true)
    for box in true:
        assert (told - box).abs().amax(dim=1).min() < 1e-3
    assert anchor_losses(found, [true], anchors, 2) < 1e-3
    images = torch.zeros(2, 1, *size)
    assert models_of(model)["model"](images).shape == (2, len(anchors), 2 + 2 * len(size))


def test_anchors_are_of_the_box_that_they_overlap_by_half_and_each_box_has_one() -> None:
    anchors = torch.tensor([[8.0, 8, 8, 8], [12, 8, 8, 8], [10, 8, 8, 8], [24, 24, 8, 8], [9.2, 8, 8, 8]])
    boxes = torch.tensor([[4.0, 4, 12, 12], [26, 26, 30, 30]])
    torch.testing.assert_close(corners(anchors)[0], boxes[0])
    # the second overlaps by a third; the third by 0.6; the fourth is the best for the small box
    assert matched(anchors, boxes).tolist() == [0, -1, 0, 1, 0]
    near = torch.tensor([[11.0, 8, 8, 8]])  # 5 / 11 of the first box, and the best there is
    assert matched(torch.cat([anchors[:1], near]), boxes[:1]).tolist() == [0, -2]
    assert matched(anchors, boxes[:0]).tolist() == [-1] * 5


def test_the_loss_is_that_of_the_paper_and_each_image_pays_for_itself() -> None:
    anchors = torch.tensor([[8.0, 8, 8, 8], [24, 24, 8, 8]])
    boxes = [torch.tensor([[4.0, 4, 12, 12, 1]]), torch.zeros(0, 5)]
    found = torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(0))
    total = 0.0
    for anchor, truth in ((0, [0, 1]), (1, [0, 0])):
        for kind, there in enumerate(truth):
            share = float(found[0, anchor, kind].sigmoid())
            right, weight = (share, 0.25) if there else (1 - share, 0.75)
            total -= weight * (1 - right) ** 2 * math.log(right)
    for gap in found[0, 0, 2:].abs().tolist():  # the box is the anchor itself
        total += gap - 1 / 18 if gap > 1 / 9 else 4.5 * gap**2
    both = anchor_losses(found, boxes, anchors, 2)
    assert float(both[0]) == pytest.approx(total, rel=1e-4)
    for number in (0, 1):
        alone = anchor_losses(found[number : number + 1], boxes[number : number + 1], anchors, 2)
        torch.testing.assert_close(alone[0], both[number])


def test_a_small_one_learns_where_bright_squares_are() -> None:
    spec = job(task_classes=["a"])
    draw = torch.Generator().manual_seed(0)
    low = torch.randint(2, 18, (6, 2), generator=draw)
    images = 0.1 * torch.randn(6, 1, 32, 32, generator=draw)
    for image, (top, left) in zip(images, low.tolist(), strict=True):
        image[0, top : top + 10, left : left + 10] += 2
    boxes = [torch.cat([own, own + 10, torch.zeros(1)])[None].float() for own in low]
    task, model = make_task(spec), build_model(spec, seed=1)
    models = models_of(model)
    batch = Batch({"image": images, "boxes": boxes}, [f"p{number}" for number in range(6)])
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    [phase] = task.phases()
    for _ in range(60):
        optimiser.zero_grad()
        phase.loss(models, batch).mean().backward()
        optimiser.step()
    predicted = task.predict(models, batch)
    metrics = task.metrics()
    task.update(metrics, predicted, batch, task.sample_losses(models, batch, predicted))
    assert metrics.compute()["ap30"] > 0.8
    assert "of 1 found" in task.looks(predicted, batch)[0].says
    assert len(task.program(models).facts["anchors"]) == predicted["maps"].shape[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"privacy_mechanism": "dp-sgd", "privacy_noise_multiplier": 1.0},
            "several levels",
        ),
        ({"data_size": None, "data_patch": [16, 16]}, "anchors are on whole images of one size"),
        ({"task_method": "centres"}, "retinanet"),
    ],
)
def test_what_anchors_cannot_do_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as refused:
        job(**options)
    assert said in str(refused.value)


@pytest.mark.parametrize("axes", [2, 3])
def test_it_is_as_large_as_it_says(axes: int) -> None:
    """The size is checked before anything is built; see `tests/shared/job/test_model_size.py`."""
    spec = job(model={"name": "retinanet"}, data_dimensions=axes, data_size=[32] * axes)
    numbers = sum(own.numel() for own in build_model(spec, seed=1).parameters())
    assert network_of(spec) == pytest.approx(numbers, rel=0.34)
