"""Losses of samples of which some have no label, and what goes with them."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.batch import Batch
from shared.errors import JobError
from shared.tasks import make_task
from shared.tasks.base import TEACHER
from shared.tasks.fields import UNKNOWN_LABEL, UNKNOWN_PIXEL
from shared.tasks.unlabelled.views import changed
from tests.jobs import make_job

SIDE = 8


class Network(nn.Module):
    """Gives two numbers of each pixel, or their means; keeps what it saw."""

    def __init__(self, weight: float, *, dense: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.0, weight]))
        self.dense = dense

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images.detach().clone()
        maps = images * self.weight.view(1, 2, 1, 1)
        return maps if self.dense else maps.flatten(2).mean(2)


def task_of(task: str, **unlabelled: Any) -> Any:
    return make_task(make_job(task_name=task, task_unlabelled=unlabelled))


def batch_of(task: str) -> Batch:
    """Four samples; the second and the third have no target."""
    generator = torch.Generator().manual_seed(1)
    images = 1 + torch.randn(4, 1, SIDE, SIDE, generator=generator)
    targets = torch.tensor([0, UNKNOWN_LABEL, UNKNOWN_LABEL, 1])
    if task == "segmentation":
        targets = (images[:, 0] > 1).to(torch.uint8)
        targets[1:3] = UNKNOWN_PIXEL
    return Batch(
        {"image": images, "label" if task == "classification" else "mask": targets}, list("abcd"), keys="abcd"
    )


def losses(task: Any, batch: Batch, rounds: float = 100.0) -> tuple[Tensor, Network, Network]:
    dense = task.job.task.name == "segmentation"
    network, teacher = Network(0.5, dense=dense), Network(6.0, dense=dense)
    models = {"model": network, TEACHER + "model": teacher}
    (phase,) = task.phases()
    return phase.loss(models, task.prepare(batch, 3).at(rounds)), network, teacher


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_fixmatch_learns_labels_as_they_are_and_elsewhere_what_the_teacher_is_sure_of(task: str) -> None:
    batch = batch_of(task)
    found, network, teacher = losses(task_of(task, method="fixmatch", ramp_rounds=0, threshold=0.9), batch)
    assert torch.equal(teacher.seen, batch["image"])
    assert torch.equal(network.seen[[0, 3]], batch["image"][[0, 3]])
    assert not torch.equal(network.seen[1], batch["image"][1])
    plain = make_task(make_job(task_name=task))
    known = batch.chosen([0, 3])
    expected = plain.phases()[0].loss({"model": network}, known)
    torch.testing.assert_close(found[[0, 3]], expected)
    if task == "classification":
        said = teacher(batch["image"]).softmax(1)
        assert said[1].max() > 0.9
        logits = network(changed(batch["image"][1], batch.seeds(3)[1], erase=True)[None])
        torch.testing.assert_close(found[1], functional.cross_entropy(logits, said[1:2].argmax(1)))


def test_who_is_not_sure_teaches_nothing() -> None:
    found, *_ = losses(
        task_of("classification", method="fixmatch", threshold=0.9999999), batch_of("classification")
    )
    assert found[1:3].tolist() == [0, 0]
    assert (found[[0, 3]] > 0).all()


@pytest.mark.parametrize("method", ["fixmatch", "mean-teacher"])
def test_a_teacher_who_sees_no_structure_is_agreed_with_pixel_by_pixel_alone(method: str) -> None:
    """The overlap with nothing is so steep that networks came to see nothing in any image."""
    images = -2 - torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    batch = Batch({"image": images, "mask": torch.full((1, SIDE, SIDE), UNKNOWN_PIXEL)}, ["a"], keys="a")
    found, network, teacher = losses(task_of("segmentation", method=method, ramp_rounds=0), batch)
    logits, said = (
        network(changed(images[0], batch.seeds(3)[0], erase=False)[None]),
        teacher(images).softmax(1),
    )
    squares = (logits.softmax(1) - said).square().sum(1).mean()
    entropy = functional.cross_entropy(logits, torch.zeros(1, SIDE, SIDE, dtype=torch.long))
    torch.testing.assert_close(found[0], entropy if method == "fixmatch" else squares)


def test_a_mean_teacher_is_agreed_with_by_everybody_more_and_more() -> None:
    batch, task = batch_of("classification"), task_of("classification", method="mean-teacher", weight=2.0)
    late, network, teacher = losses(task, batch, rounds=5.0)
    early, *_ = losses(task, batch, rounds=0.0)
    between, *_ = losses(task, batch, rounds=2.5)
    views = torch.stack(
        [changed(one, seed, erase=True) for one, seed in zip(batch["image"], batch.seeds(3), strict=True)]
    )
    squares = (network(views).softmax(1) - teacher(batch["image"]).softmax(1)).square().sum(1)
    of_label = functional.cross_entropy(network(views)[:1], torch.tensor([0]))
    torch.testing.assert_close(late[1], 2 * squares[1])
    torch.testing.assert_close(late[0], of_label + 2 * squares[0])
    torch.testing.assert_close(early[1], 2 * math.exp(-5) * squares[1])
    torch.testing.assert_close(between[1], 2 * math.exp(-5 / 4) * squares[1])


@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("method", ["fixmatch", "mean-teacher"])
def test_the_loss_of_a_sample_depends_on_no_other_and_on_the_teacher_without_gradient(
    task: str, method: str
) -> None:
    batch, learner = batch_of(task), task_of(task, method=method)
    found, _, teacher = losses(learner, batch)
    alone, *_ = losses(learner, batch.chosen([2]))
    torch.testing.assert_close(alone[0], found[2])
    found.sum().backward()
    assert teacher.weight.grad is None


def test_views_are_seeded_and_move_nothing() -> None:
    image = torch.zeros(2, 16, 16)
    image[:, 4:8, 6:10] = 5
    seen = [changed(image, seed, erase=False) for seed in range(20)]
    assert torch.equal(seen[3], changed(image, 3, erase=False))
    assert len({one.numpy().tobytes() for one in seen}) > 10
    assert all(one[0, 5:7, 7:9].mean() > one[0, 12:].mean() + 1 for one in seen)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_multi_label": True}, "an empty cell says that it has none"),
        ({"task_mixup": 0.2}, "mixes labels, which unlabelled rows have not"),
        ({"training_adversarial": {"epsilon": 0.1}}, "raises the loss of labels"),
        (
            {"task_columns": ["age"], "task_image": False, "model": {"name": "mlp"}, "data": {}},
            "are of single images",
        ),
        ({"task_name": "segmentation", "task_loss": "batch-dice-ce"}, "mixes the images of a batch"),
        (
            {"task_unlabelled": {"method": "leave-out", "weight": 2.0}},
            "weight: is for method = 'mean-teacher'",
        ),
        ({"task_unlabelled": {"method": "fixmatch", "decay": 0.9}}, "decay: is for method = 'mean-teacher'"),
    ],
)
def test_what_rows_without_labels_do_not_go_with_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as refused:
        make_job(**{"task_name": "classification", "task_unlabelled": {"method": "fixmatch"}} | options)
    assert said in str(refused.value)
