"""Tasks: what a model is given, how it is inferred, and that nothing of it is disturbed."""

from typing import Any

import pytest
import torch
from monai.networks.nets import UNet
from torch import Tensor, nn

from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.metrics.spec import metric_names
from shared.tasks import TASKS, make_task
from shared.tasks.options import ClassesOptions
from tests.batches import judge, predict, sample_losses, training_loss
from tests.jobs import make_job
from tests.work import Operators, calls_of

OF_CLASSES = [name for name, options in TASKS.items() if issubclass(options, ClassesOptions)]


def job(task: str, **options: Any) -> JobSpec:
    """Return a job with two classes, of which a network's output has no background."""
    return make_job(**{"task_name": task, "task_classes": ["a", "b"]} | options)


class Recorder(nn.Module):
    """Answers with its input as the logits of one class, and remembers the sizes it was given."""

    def __init__(self, divisor: int = 1) -> None:
        super().__init__()
        self.divisor = divisor
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.sizes.append(tuple(images.shape[2:]))
        return torch.cat([images, -images, torch.zeros_like(images)], dim=1)


@pytest.mark.parametrize(
    ("task", "data", "outputs", "target"),
    [
        ("classification", {}, 2, "label"),
        ("classification", {"task_multi_label": True, "task_classes": ["a"]}, 1, "label"),
        ("segmentation", {}, 3, "mask"),
        ("segmentation", {"data_dimensions": 3, "data_size": [8, 8, 8], "task_classes": ["a"]}, 2, "mask"),
    ],
)
def test_a_task_says_what_it_sees(task: str, data: dict[str, Any], outputs: int, target: str) -> None:
    spec = job(task, **data)
    made = make_task(spec)
    assert spec.task.networks(spec.data)["model"].outputs == outputs
    assert made.targets == {target}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("task", OF_CLASSES)
def test_predict_keeps_the_mode_of_the_model(task: str, training: bool) -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5)).train(training)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    logits = predict(make_task(job(task)), model, torch.randn(2, 1, 8, 8))
    assert not logits.requires_grad
    assert all(module.training is training for module in model.modules())
    torch.testing.assert_close(model.state_dict(), before)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (5, 40)])
@pytest.mark.parametrize("divisor", [1, 8])
def test_images_of_any_size_fit_the_network(size: tuple[int, int], divisor: int) -> None:
    model, images = Recorder(divisor).eval(), torch.randn(2, 1, *size)
    logits = predict(make_task(job("segmentation")), model, images)
    torch.testing.assert_close(logits[:, :1], images)
    assert all(side % divisor == 0 for sides in model.sizes for side in sides)


def test_odd_sizes_train_too() -> None:
    network = UNet(spatial_dims=2, in_channels=1, out_channels=3, channels=(4, 8, 8), strides=(2, 2))
    network.divisor = 4  # type: ignore[assignment]
    task = make_task(job("segmentation"))
    batch = Batch(
        {"image": torch.randn(2, 1, 17, 30), "mask": torch.ones(2, 17, 30, dtype=torch.uint8)}, ["p", "q"]
    )
    task.phases()[0].loss({"model": network}, batch).mean().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(
    ("size", "windows"),
    [((16, 16), [(16, 16)]), ((12, 8), [(12, 8)]), ((24, 20), [(16, 16)]), ((8, 40), [(16, 16)])],
)
def test_windows_slide_over_images_larger_than_the_patch(
    size: tuple[int, int], windows: list[tuple[int, int]]
) -> None:
    model, images = Recorder().eval(), torch.randn(3, 1, *size)
    logits = predict(make_task(job("segmentation", data_size=None, data_patch=[16, 16])), model, images)
    torch.testing.assert_close(logits[:, :1], images)
    assert set(model.sizes) == set(windows)


def test_windows_slide_over_volumes_whose_patch_the_network_can_not_halve() -> None:
    spec = job("segmentation", data_dimensions=3, data_size=None, data_patch=[8, 8, 6])
    model, images = Recorder(4).eval(), torch.randn(1, 1, 12, 8, 14)
    logits = predict(make_task(spec), model, images)
    torch.testing.assert_close(logits[:, :1], images)
    assert set(model.sizes) == {(8, 8, 8)}


@pytest.mark.parametrize("task", OF_CLASSES)
def test_the_training_loss_is_the_mean_of_the_images(task: str) -> None:
    made = make_task(job(task))
    shape = () if task == "classification" else (8, 8)
    outputs = made.job.task.networks(made.job.data)["model"].outputs
    logits = torch.randn(5, outputs, *shape, generator=torch.Generator().manual_seed(0))
    targets = torch.ones(5, *shape, dtype=torch.uint8 if shape else torch.int64)
    losses = sample_losses(made, logits, targets)
    assert losses.shape == (5,)
    torch.testing.assert_close(training_loss(made, logits, targets), losses.mean())
    metrics = made.metrics()
    judge(made, metrics, logits[:2], targets[:2], ["p", "q"])
    judge(made, metrics, logits[2:], targets[2:], ["p", "q", "r"])
    values = metrics.compute()
    assert tuple(values) == metric_names(made.job)
    assert values["loss"] == pytest.approx(float(losses.mean()), abs=1e-6)


@pytest.mark.parametrize(("task", "of_each"), [("classification", 200), ("segmentation", 16)])
def test_judging_costs_little_beside_training(task: str, of_each: int) -> None:
    """150 slices of 128 x 128 in ten batches: a few passes over the logits, nothing image by image."""
    made = make_task(job(task))
    shape = () if task == "classification" else (128, 128)
    outputs = made.job.task.networks(made.job.data)["model"].outputs
    logits = torch.randn(150, outputs, *shape)
    targets = torch.randint(0, 2, (150, *shape), dtype=torch.uint8 if shape else torch.int64)

    def evaluate() -> None:
        metrics = made.metrics()
        for first in range(0, 150, 16):
            part = slice(first, first + 16)
            judge(made, metrics, logits[part], targets[part], ["p"] * len(targets[part]))
        metrics.compute()

    with Operators() as operators:
        evaluate()
    assert operators.count < 2000
    assert operators.numbers < of_each * logits.numel()
    assert calls_of(evaluate) < 60_000
