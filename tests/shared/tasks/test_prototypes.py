"""Prototypes: an image is of the class whose mean of features is nearest, and means are sums over sites."""

from typing import Any

import pytest
import torch
from torch import Tensor

from client.training.clipping import PerSampleSum, clip_factors
from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks.build import build_model, models_of
from shared.networks.class_means_module import nearest_mean
from shared.tasks import make_task
from tests.jobs import make_job

SGD = {"training_optimizer": "sgd", "training_learning_rate": 1.0, "training_momentum": 0.0}


def job(**options: Any) -> JobSpec:
    return make_job(
        **{
            "task_name": "classification",
            "task_classes": ["a", "b", "c"],
            "task_prototypes": 4,
            "model": {"encoder": {"name": "cnn", "channels": [4]}, "prototypes": {"name": "class-means"}},
            **SGD,
            "privacy": {"secure_aggregation": True},
            **options,
        }
    )


def batch_of(count: int, seed: int = 0) -> Batch:
    images = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % 3
    images[labels == 1, :, ::2] += 2  # lines across
    images[labels == 2, :, :, ::2] += 2  # lines down
    return Batch({"image": images, "label": labels}, [f"p{n}" for n in range(count)])


def test_the_nearest_mean_is_that_of_the_paper() -> None:
    features = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    means = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    shares = torch.tensor([0.5, 0.2, 0.3])[:, None]
    held = torch.cat([means * shares, shares], dim=1).expand(5, -1, -1)
    torch.testing.assert_close(nearest_mean(features, held), -torch.cdist(features, means).square())
    unknown = held * torch.tensor([1.0, 0.0, 1.0])[:, None]
    found = nearest_mean(features, unknown)
    torch.testing.assert_close(found[:, [0, 2]], -torch.cdist(features, means[[0, 2]]).square())
    assert bool((found[:, 1] < found[:, [0, 2]].amin(1)).all())
    assert not nearest_mean(features, torch.zeros(5, 3, 5)).diff(dim=1).any()


def stepped(spec: JobSpec, batch: Batch) -> dict[str, Tensor]:
    """Return what a site has after one step with a fixed encoder over all of its images."""
    task, network = make_task(spec), build_model(spec, seed=1)
    [phase] = task.phases()
    models = models_of(network)
    models["encoder"].requires_grad_(False)
    phase.loss(models, batch).mean().backward()
    with torch.no_grad():
        for own in models["prototypes"].parameters():
            own.sub_(own.grad)
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_the_mean_of_the_sites_models_has_the_prototypes_of_all_images() -> None:
    spec = job()
    whole, parts = batch_of(11), [range(4), range(4, 11)]  # with other shares of the classes
    sites = [stepped(spec, whole.chosen(list(part))) for part in parts]
    mean = {
        name: sum(len(p) / 11 * site[name] for p, site in zip(parts, sites, strict=True)) for name in sites[0]
    }
    task, network = make_task(spec), build_model(spec)
    network.load_state_dict(mean)
    models = models_of(network)
    predicted = task.predict(models, whole)
    features = models["encoder"].eval()(whole["image"])
    means = torch.stack([features[whole["label"] == k].mean(0) for k in range(3)])
    torch.testing.assert_close(
        predicted["logits"], -torch.cdist(features, means).square(), atol=1e-5, rtol=1e-4
    )


def test_the_encoder_learns_to_bring_classes_apart() -> None:
    spec, batch = job(), batch_of(12)
    task, network = make_task(spec), build_model(spec)
    [phase], models = task.phases(), models_of(network)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for _ in range(30):
        optimizer.zero_grad()
        phase.loss(models, batch).mean().backward()
        optimizer.step()
    predicted = task.predict(models, batch)
    right = [answer.cells["predicted"] == answer.cells["true"] for answer in task.answers(batch, predicted)]
    assert sum(right) >= 10
    program = task.program(models_of(network.eval()))
    torch.testing.assert_close(program.module(batch["image"]), predicted["logits"], atol=1e-5, rtol=1e-4)


def test_each_patient_is_clipped_by_their_own_gradient() -> None:
    spec = job(
        privacy={"mechanism": "dp-sgd", "noise_multiplier": 1.0, "delta": 1e-5}, strategy_weight="equal"
    )
    task, network, batch = make_task(spec), build_model(spec), batch_of(3)
    models = models_of(network)
    models["prototypes"].held.weight.data.uniform_(0.1, 0.3, generator=torch.Generator().manual_seed(0))
    parameters = list(network.parameters())
    alone = [
        torch.autograd.grad(loss, parameters, retain_graph=True)
        for loss in task.phases()[0].loss(models, batch)
    ]
    norms = torch.stack([torch.cat([own.flatten() for own in found]).norm() for found in alone])
    most = float(norms.mean())
    clipped = PerSampleSum(network, lambda some: task.phases()[0].loss(models, some), most, task.targets)
    clipped.add(batch, torch.arange(3))
    factors = clip_factors(norms, most)
    for total, *own in zip(clipped.take(), *alone, strict=True):
        expected = torch.stack([factor * part for factor, part in zip(factors, own, strict=True)]).sum(0)
        torch.testing.assert_close(total, expected, rtol=1e-3, atol=1e-4)
    clipped.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"training_optimizer": "adamw", "training_momentum": 0.9}, "must be 'sgd' with prototypes"),
        ({"task_mixup": 0.2}, "leave out mixup"),
        ({"privacy": {}}, "secure_aggregation: must be true with prototypes"),
        ({"task_multi_label": True}, "images with one label each"),
        ({"model": {"encoder": {"name": "cnn"}, "prototypes": {"name": "mlp"}}}, "'mlp' is not for"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError, match=said):
        job(**options)
