"""Bags and series: what a job says of them, and that each sample's loss and gradient are its own."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from client.data.samples.batches import Samples
from client.training.clipping import GhostSum, PerSampleSum
from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec, parse_job
from shared.metrics.spec import metric_names
from shared.networks.aggregator_modules import ATTENTION
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from shared.tasks.stack_options import MOMENTS
from tests.client.training.test_private_training import train
from tests.jobs import make_job
from tests.shared.networks.test_aggregators import AGGREGATORS, LENGTH, bag_job, bags

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")
BOUND = 0.05


def tiles_job(**options: Any) -> JobSpec:
    """Return a job that classifies bags of small pictures."""
    return make_job(
        **{
            "task_name": "classification",
            "task_stack": {"kind": "tiles", "features": 6},
            "model": {
                "encoder": {"name": "cnn", "channels": [4], "norm": "group"},
                "aggregator": {"name": "attention-mil", "hidden": []},
            },
            "data": {"size": [8, 8]},
        }
        | options
    )


def tiles(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, 1, 8, 8, generator=generator) for size in sizes]


def batch_for(job: JobSpec) -> Batch:
    """Return three bags of other sizes."""
    kind = job.task.stack.kind
    values = tiles(3, 1, 5) if kind == "tiles" else bags(3, 1, 5)
    return Batch({kind: values, "label": torch.tensor([0, 1, 1])}, ["ann", "ben", "ben"])


def private(job: JobSpec) -> JobSpec:
    privacy = {"mechanism": "dp-sgd", "noise_multiplier": 1.0, "delta": 1e-5}
    return parse_job(job.model_dump(exclude_none=True) | {"privacy": privacy}, "private")


@pytest.mark.parametrize(
    "job", [*(bag_job(*own) for own in AGGREGATORS), tiles_job()], ids=lambda job: str(job.digest()[:6])
)
def test_private_training_clips_the_gradient_of_each_bag(job: JobSpec) -> None:
    """Bags of other sizes in one batch; two of them of one patient, whose gradient is their mean."""
    job = private(job)
    model, task, batch = build_model(job, seed=1), make_task(job), batch_for(job)
    loss = partial(task.phases()[0].loss, models_of(model))
    alone = [gradients_of(model, loss(batch.chosen([number])).sum()) for number in range(3)]
    patients = [alone[0], [(first + second) / 2 for first, second in zip(alone[1], alone[2], strict=True)]]
    expected = [torch.zeros_like(own) for own in model.parameters()]
    for gradients in patients:
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        assert norm > BOUND  # it is clipped
        for total, gradient in zip(expected, gradients, strict=True):
            total.add_(gradient * BOUND / norm)

    clipped = PerSampleSum(model, loss, BOUND, task.targets)
    clipped.add(batch, torch.tensor([0, 1, 1]))
    for found, wanted in zip(clipped.take(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7)
    clipped.close()


def test_private_training_without_room_for_gradients_does_the_same() -> None:
    job = private(tiles_job())
    model, task, batch = build_model(job, seed=1), make_task(job), batch_for(job)
    loss, found = partial(task.phases()[0].loss, models_of(model)), []
    for kind in (PerSampleSum, GhostSum):
        clipped = kind(model, loss, BOUND, task.targets)
        clipped.add(batch, torch.tensor([0, 1, 2]))
        found.append(torch.cat([one.flatten() for one in clipped.take()]))
        clipped.close()
    torch.testing.assert_close(*found)


def test_a_private_round_moves_by_the_clipped_gradients_of_two_patients() -> None:
    """Full batch, no noise to speak of: a step is the mean of what each patient's bag says, cut down."""
    options = {
        "training_batch_size": 100,
        "training_optimizer": "sgd",
        "training_momentum": 0.0,
        "training_learning_rate": 1.0,
        "privacy_mechanism": "dp-sgd",
        "privacy_noise_multiplier": 1e-9,
        "privacy_max_grad_norm": BOUND,
        "training_local_epochs": 1,
        "data_augment": [],
    }
    job, patients = tiles_job(**options), ["ann", "ben"]
    columns = {"tiles": tiles(3, 5), "label": torch.tensor([0, 1])}
    samples = Samples(job, columns, patients=patients, keys=patients, spacings=[None, None])
    moved = train(job, samples)
    model, task = build_model(job, seed=1), make_task(job)
    batch, expected = Batch(columns, patients), torch.zeros_like(moved)
    for number in range(2):
        loss = task.phases()[0].loss(models_of(model), batch.chosen([number])).sum()
        own = torch.cat([gradient.flatten() for gradient in gradients_of(model, loss)])
        expected -= own * min(1.0, BOUND / float(own.norm())) / 2
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-6)


def gradients_of(model: nn.Module, loss: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [
        torch.zeros_like(own) if gradient is None else gradient
        for own, gradient in zip(model.parameters(), found, strict=True)
    ]


@pytest.mark.parametrize("job", [bag_job("clam"), tiles_job()], ids=["clam", "tiles"])
def test_the_loss_and_the_prediction_of_a_bag_depend_on_no_other(job: JobSpec) -> None:
    models, task, batch = models_of(build_model(job, seed=1)), make_task(job), batch_for(job)
    together = task.predict(models, batch)
    losses = task.sample_losses(models, batch, together)
    trained = task.phases()[0].loss(models, batch)
    for number in range(3):
        alone = batch.chosen([number])
        predicted = task.predict(models, alone)
        torch.testing.assert_close(predicted["logits"][0], together["logits"][number])
        torch.testing.assert_close(task.sample_losses(models, alone, predicted)[0], losses[number])
        torch.testing.assert_close(task.phases()[0].loss(models, alone)[0], trained[number])


def test_clusters_count_in_training_and_not_in_what_is_reported() -> None:
    job = bag_job("clam")
    models, task, batch = models_of(build_model(job, seed=1)), make_task(job), batch_for(job)
    reported = task.sample_losses(models, batch, task.predict(models, batch))
    assert (task.phases()[0].loss(models, batch) > reported + 0.01).all()


def test_bags_are_judged_as_images_are() -> None:
    job = tiles_job()
    models, task, batch = models_of(build_model(job, seed=1)), make_task(job), batch_for(job)
    predicted, merged = task.predict(models, batch), task.metrics()
    for number in range(3):  # each a site of its own
        metrics, alone = task.metrics(), batch.chosen([number])
        own = task.predict(models, alone)
        task.update(metrics, own, alone, task.sample_losses(models, alone, own))
        merged.merge(metrics.pack())
    pooled = task.metrics()
    task.update(pooled, predicted, batch, task.sample_losses(models, batch, predicted))
    assert tuple(pooled.compute()) == metric_names(job)
    assert merged.compute() == pytest.approx(pooled.compute(), abs=1e-6, nan_ok=True)
    assert predicted[ATTENTION].shape == (3, 5)


def test_vectors_get_the_scale_of_all_sites_however_many_a_bag_has() -> None:
    job = make_job(
        task_name="classification",
        task_stack={"kind": "vectors", "length": LENGTH},
        data={},
        model={"name": "attention-mil"},
    )
    task = make_task(job)
    raw = [3 + 2 * bag for bag in bags(40, 10)]
    for bag in raw:
        bag[:, 2] = 7.0  # says nothing
    batch = Batch({"vectors": raw}, ["ann", "ben"])
    values = task.measure(batch)[MOMENTS]
    [spec] = job.task.statistics()
    sums = torch.stack([torch.full((2 * LENGTH,), 2.0), values.sum(0), values.square().sum(0)], dim=1)
    assert tuple(sums.shape) == spec.shape
    scaled = task.knowing({MOMENTS: sums.double().numpy()}).prepare(batch, 0)["vectors"]
    mean = (scaled[0].mean(0) + scaled[1].mean(0)) / 2
    square = (scaled[0].square().mean(0) + scaled[1].square().mean(0)) / 2
    kept = [number for number in range(LENGTH) if number != 2]
    torch.testing.assert_close(mean, torch.zeros(LENGTH), atol=1e-5, rtol=0)
    torch.testing.assert_close(square[kept], torch.ones(LENGTH - 1), atol=1e-5, rtol=0)
    assert not torch.stack([own[:, 2].abs().max() for own in scaled]).any()


@pytest.mark.parametrize(
    ("stack", "problem"),
    [
        ({"kind": "vectors"}, "length: is missing"),
        ({"kind": "tiles", "length": 3}, "length: is about vectors, and these are tiles"),
        ({"kind": "series", "order": "month"}, "order: is about vectors, and these are series"),
        ({"kind": "vectors", "length": 3, "column": "vectors"}, "column: vectors are named by a table"),
        ({"kind": "tiles", "column": "tiles.csv"}, "column: tiles are named by a column, and no table"),
        ({"kind": "vectors", "length": 3, "column": "../vectors.csv"}, "name no folder"),
        ({"kind": "slides"}, r"\[task\] stack.kind: unknown name \"slides\""),
    ],
)
def test_a_wrong_table_is_refused(stack: dict[str, Any], problem: str) -> None:
    with pytest.raises(JobError, match=problem):
        tiles_job(task_stack=stack)


def test_two_networks_need_two_tables() -> None:
    with pytest.raises(JobError, match=r"has 2 networks; give each a table of its own: \[model.encoder\]"):
        tiles_job(model={"name": "cnn"})
    with pytest.raises(JobError, match="'cnn' is not for classification of a bag of images in 2D"):
        tiles_job(task_stack={"kind": "tiles"}, model={"name": "cnn"})


def test_a_scale_of_all_sites_is_refused_where_noise_should_protect_it() -> None:
    with pytest.raises(JobError, match=r"take \[task.stack\] scaling = 'none'"):
        private(
            make_job(
                task_name="classification",
                task_stack={"kind": "vectors", "length": LENGTH},
                data={},
                model={"name": "attention-mil"},
            )
        )


def test_a_job_of_images_keeps_its_digest() -> None:
    """The key is not written where it is not used: what hospitals have approved stays approved."""
    assert "stack" not in make_job(task_name="classification").canonical()
