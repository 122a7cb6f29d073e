"""False-positive reduction: a second network judges what a detector has found."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from client.training.clipping import PerSampleSum, clip_factors
from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.metrics.spec import metric_names
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from shared.tasks.detection import reduction
from shared.tasks.detection.maps import Detections
from tests.jobs import make_job

TWO = {
    "task_name": "detection",
    "task_classes": ["a", "b"],
    "task_false_positive_reduction": True,
    "task_most_boxes": 6,
    "task_crop": 8,
    "model": {
        "detector": {"name": "unet", "channels": [4, 8], "num_res_units": 0, "norm": "instance"},
        "reducer": {"name": "cnn", "channels": [4]},
    },
    "data_augment": None,
}


def scene(count: int, axes: int = 2, seed: int = 0) -> Batch:
    """Return images with a bright block each, of which the box is known; the last image has none."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.1 * torch.rand(count, 1, *[16] * axes, generator=generator)
    boxes = []
    for number in range(count):
        low = torch.randint(1, 9, (axes,), generator=generator)
        images[(number, 0, *(slice(int(own), int(own) + 6) for own in low))] += 1
        boxes.append(torch.cat([low, low + 6, torch.tensor([number % 2])])[None].float())
    boxes[-1] = boxes[-1][:0]
    names = [f"{seed}-{number}" for number in range(count)]
    return Batch({"image": images, "boxes": boxes}, names, keys=names)


@pytest.mark.parametrize("axes", [2, 3])
def test_what_is_around_a_box_is_cut_out_at_its_place(axes: int) -> None:
    """Each axis of an image that says where a pixel lies is cut out as the places that it should have."""
    size = [20, 24, 28][:axes]
    places = torch.stack(torch.meshgrid(*(torch.arange(length) + 0.5 for length in size), indexing="ij"))
    low, high = torch.tensor([6.0, 8, 10])[:axes], torch.tensor([10.0, 12, 16])[:axes]
    boxes = torch.cat([low, high]).expand(1, 2, -1)
    seen = reduction.cut_out(places[None], boxes, 4)
    assert seen.shape == (1, 2, axes, *[4] * axes)
    for axis in range(axes):
        line = seen[0, 1, axis].movedim(axis, 0).flatten(1)[:, 0]
        middle, length = (low[axis] + high[axis]) / 2, 2 * (high[axis] - low[axis])
        torch.testing.assert_close(line, middle + length * torch.tensor([-3.0, -1, 1, 3]) / 8)


def test_a_network_that_knows_puts_the_right_box_first() -> None:
    class Brightness(nn.Module):
        def forward(self, crops: Tensor) -> Tensor:
            return 20 * (crops.flatten(1).mean(1, keepdim=True) - 0.2).expand(-1, 2)

    batch = scene(2)
    true = batch["boxes"][0][0]
    boxes = torch.stack([(true[:4] + 5) % 10, true[:4]])[None].expand(2, -1, -1)
    boxes = torch.cat([boxes[..., :2], boxes[..., :2] + 6], dim=-1)
    found = Detections(boxes, torch.tensor([[1.0, 0.5], [1.0, -torch.inf]]), torch.zeros(2, 2).long())
    logits = reduction.judged(Brightness(), batch["image"], found.boxes, found.classes, 8)
    again = reduction.reconsidered(found, logits)
    torch.testing.assert_close(again.boxes[0, 0, :4], true[:4])
    assert again.scores[1].isfinite().tolist() == [True, False]
    losses = reduction.losses(Brightness(), batch["image"], found, list(batch["boxes"]), 8)
    blind = reduction.losses(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), batch["image"], found, list(batch["boxes"]), 8
    )
    assert losses[0] < blind[0]


@pytest.mark.parametrize("axes", [2, 3])
def test_both_stages_are_judged_and_sites_add_up(axes: int) -> None:
    spec = make_job(**TWO, data_dimensions=axes, data_size=[16] * axes)
    task, models = make_task(spec), models_of(build_model(spec))
    parts = []
    for batches in ([scene(3, axes, 1), scene(2, axes, 2)], [scene(3, axes, 1)], [scene(2, axes, 2)]):
        metrics = task.metrics()
        for batch in batches:
            predicted = task.predict(models, batch)
            task.update(metrics, predicted, batch, task.sample_losses(models, batch, predicted))
        parts.append(metrics)
    total = task.metrics()
    for part in parts[1:]:
        total.merge(part.pack())
    values = total.compute()
    assert values == pytest.approx(parts[0].compute(), abs=1e-6, nan_ok=True)
    assert tuple(values) == metric_names(spec)
    assert "sensitivity_1fp_before" in values
    ordered = predicted["scores"]
    assert (ordered[:, :-1] >= ordered[:, 1:]).all()
    lone = Batch({"image": batch["image"]}, batch.patients)
    assert torch.equal(task.predict(models, lone)["scores"], ordered)


@pytest.mark.parametrize("role", ["detector", "reducer"])
def test_each_image_is_clipped_by_its_own_gradient(role: str) -> None:
    private = {"mechanism": "dp-sgd", "noise_multiplier": 1.0, "delta": 1e-5}
    spec = make_job(**TWO, privacy=private)
    task, network, batch = make_task(spec), build_model(spec), scene(3)
    models = models_of(network)
    own = models[role]
    parameters = list(own.parameters())
    [phase] = [phase for phase in task.phases() if phase.name == role]
    assert phase.per_sample
    alone = [torch.autograd.grad(phase.loss(models, batch.chosen([n])).sum(), parameters) for n in range(3)]
    norms = torch.stack([torch.cat([part.flatten() for part in found]).norm() for found in alone])
    most = float(norms.median())
    clipped = PerSampleSum(own, lambda some: phase.loss(models, some), most, task.targets)
    clipped.add(batch.each(lambda _, value: value), torch.arange(3))
    factors = clip_factors(norms, most)
    for total, *parts in zip(clipped.take(), *alone, strict=True):
        expected = torch.as_tensor(sum(factor * part for factor, part in zip(factors, parts, strict=True)))
        torch.testing.assert_close(total, expected, rtol=1e-3, atol=1e-5)
    clipped.close()


def test_the_second_network_teaches_the_first_nothing() -> None:
    spec: JobSpec = make_job(**TWO)
    task, network, batch = make_task(spec), build_model(spec), scene(3)
    models = models_of(network)
    {phase.name: phase for phase in task.phases()}["reducer"].loss(models, batch).mean().backward()
    assert all(parameter.grad is None for parameter in models["detector"].parameters())
    assert any(parameter.grad is not None for parameter in models["reducer"].parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_method": "anchors"}, "needs method = 'centres'|retinanet"),
        ({"model": {"name": "unet", "channels": [4, 8]}}, r"\[model.reducer\]"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError, match=said):
        make_job(**TWO | options)
