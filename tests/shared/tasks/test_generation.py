"""Generation: what the networks minimise, what is drawn, and how far it is from real images."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn

from shared.batch import Batch
from shared.errors import JobError
from shared.job.model_size import model_size
from shared.job.rules import about_model_megabytes
from shared.job.schema import JobSpec
from shared.job_parts import networks_of
from shared.metrics.states import MetricSet
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from shared.tasks.generation.features import Features
from shared.tasks.generation.kernel import kernel_columns, kernel_distance, kernel_moments
from shared.tasks.generation.metrics import frechet, gaussian, moments
from tests.jobs import make_job
from tests.work import Operators


def job(**options: Any) -> JobSpec:
    return make_job(task_name="generation", **options)


def images(count: int, brightness: float = 0.5, size: tuple[int, ...] = (16, 16)) -> Tensor:
    """Return grey images with some noise and a brighter square somewhere."""
    generator = torch.Generator().manual_seed(count)
    found = brightness + 0.05 * torch.randn(count, 1, *size, generator=generator)
    for image, place in zip(found, torch.randint(0, 8, (count, 2), generator=generator), strict=True):
        image[0, place[0] : place[0] + 6, place[1] : place[1] + 6] += 0.3
    return found.clamp(0, 1)


def batch_of(pictures: Tensor, start: int = 0, **values: Any) -> Batch:
    names = [f"p{(start + number) // 2}" for number in range(len(pictures))]
    return Batch({"image": pictures, **values}, names, keys=[str(start + n) for n in range(len(pictures))])


def judged(spec: JobSpec, pictures: Tensor, parts: int = 1) -> list[MetricSet]:
    """Return the metrics of the first model on images that are at some sites."""
    task, models = make_task(spec), models_of(build_model(spec))
    found, start = [], 0
    for part in pictures.tensor_split(parts):
        metrics = task.metrics()
        for few in part.split(7):
            batch = task.prepare(batch_of(few, start), 1)
            predicted = task.predict(models, batch)
            task.update(metrics, predicted, batch, task.sample_losses(models, batch, predicted))
            start += len(few)
        found.append(metrics)
    return found


def test_the_distance_is_that_of_two_normal_distributions() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(2, 5))
    first, second = (part @ part.T for part in rng.normal(size=(2, 5, 8)))
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(first + second - 2 * sqrtm(first @ second).real)
    found = frechet(*map(torch.from_numpy, (means[0], first, means[1], second)))
    assert found == pytest.approx(expected, rel=1e-9)
    assert frechet(*map(torch.from_numpy, (means[0], first, means[0], first))) == pytest.approx(0, abs=1e-9)


def test_means_of_features_and_of_products_tell_mean_and_covariance() -> None:
    features = torch.rand(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    columns = moments(features)
    assert columns.shape == (50, 6 + 21)
    assert 0 <= float(columns.min()) <= float(columns.max()) <= 1
    mean, covariance = gaussian(columns.mean(0), 50, 6)
    torch.testing.assert_close(mean, features.mean(0))
    torch.testing.assert_close(covariance, features.T.cov(), rtol=1e-9, atol=1e-12)


def test_noise_leaves_no_negative_variance() -> None:
    features = torch.rand(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise = 0.1 * torch.randn(27, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mean, covariance = gaussian(moments(features).mean(0) + noise, 20, 6)
    assert float(torch.linalg.eigvalsh(covariance).min()) > -1e-12
    assert frechet(mean, covariance, mean, covariance) == pytest.approx(0, abs=1e-9)


def test_the_kernel_distance_is_that_over_all_pairs_of_different_images() -> None:
    source = torch.Generator().manual_seed(0)
    real, drawn = (torch.rand(9, 3, dtype=torch.float64, generator=source) ** power for power in (1, 2))

    def kernel(first: Tensor, second: Tensor) -> Tensor:
        return ((2 * first - 1) @ (2 * second - 1).T / 3 + 1) ** 3

    def pairs(values: Tensor) -> Tensor:
        return (kernel(values, values).sum() - kernel(values, values).trace()) / (9 * 8)

    expected = pairs(real) + pairs(drawn) - 2 * kernel(real, drawn).mean()
    columns = [kernel_moments(values) for values in (real, drawn)]
    assert columns[0].shape == (9, kernel_columns(3)) == (9, 3 + 6 + 10 + 1)
    assert 0 <= float(torch.cat(columns).min()) <= float(torch.cat(columns).max()) <= 1
    found = kernel_distance(columns[0].mean(0), columns[1].mean(0), 9, 3)
    assert found == pytest.approx(float(expected), abs=1e-12)
    assert math.isnan(kernel_distance(columns[0].mean(0), columns[1].mean(0), 1, 3))


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_merged_is_pooled(parts: int) -> None:
    spec = job(task_kernel_distance=True)
    [pooled] = judged(spec, images(40))
    merged = make_task(spec).metrics()
    for metrics in judged(spec, images(40), parts):
        merged.merge(metrics.pack())
    assert merged.compute() == pytest.approx(pooled.compute(), abs=1e-6)
    assert pooled.compute()["frechet"] > 0
    assert pooled.compute()["kernel"] > 0
    assert "kernel" not in make_task(job()).metrics().compute()


def test_without_two_images_there_is_no_distance() -> None:
    assert math.isnan(make_task(job()).metrics().compute()["frechet"])
    [one] = judged(job(), images(1))
    assert math.isnan(one.compute()["frechet"])
    assert one.compute()["loss"] > 0


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("size", [[16, 16], [33, 20], [8, 8], [12, 12, 12]])
def test_features_are_the_same_for_everybody(size: list[int], unit: bool) -> None:
    values = torch.rand(3, 2, *size)
    first, second = (Features(2, size, 5, unit=unit)(values) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (3, 5)
    assert 0 < float(first.min()) < float(first.max()) < 1


def test_features_tell_kinds_of_images_apart() -> None:
    features = Features(1, [16, 16], 16, unit=True)

    def distance(first: Tensor, second: Tensor) -> float:
        return frechet(
            *gaussian(moments(features(first)).mean(0), len(first), 16),
            *gaussian(moments(features(second)).mean(0), len(second), 16),
        )

    same = distance(images(100), images(101))
    assert distance(images(100), images(101, 0.4)) > 3 * same
    assert distance(images(100), images(1).repeat(101, 1, 1, 1)) > 3 * same  # one image again and again
    assert distance(images(100), images(101).flip(3).roll(8, 2)) > same


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_the_penalty_is_the_squared_slope_at_real_images(loss: str) -> None:
    """Of a linear discriminator the slope is its weights."""

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(256))

        def forward(self, pictures: Tensor) -> Tensor:
            return (pictures.flatten(1) @ self.weight)[:, None]

    found = []
    for penalty in (0.0, 3.0):
        task = make_task(job(task_penalty=penalty, task_loss=loss))
        models = {**models_of(build_model(task.job)), "discriminator": Linear()}
        models["discriminator"].weight.data = torch.linspace(-1, 1, 256)
        found.append(task.phases()[0].loss(models, task.prepare(batch_of(images(4)), 0)))
    expected = 1.5 * torch.linspace(-1, 1, 256).square().sum()
    torch.testing.assert_close(found[1] - found[0], expected.expand(4), rtol=1e-4, atol=1e-4)


def test_the_penalty_of_wgan_gp_is_how_far_the_slope_between_images_is_from_1() -> None:
    class Mean(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            return 3 * pictures.flatten(1).square().sum(1, keepdim=True)

    task = make_task(job(task_loss="wasserstein", task_penalty=10.0))
    models = {**models_of(build_model(task.job)), "discriminator": Mean()}
    batch = task.prepare(batch_of(images(4)), 0)
    drawn = task.predict(models, batch)["image"]
    share = batch["share"].view(4, 1, 1, 1)
    slope = 6 * (share * batch["image"] + (1 - share) * drawn).flatten(1).norm(dim=1)
    apart = 3 * (drawn.square() - batch["image"].square()).flatten(1).sum(1)
    to_tell, to_fool = (phase.loss(models, batch).detach() for phase in task.phases())
    torch.testing.assert_close(to_tell, apart + 10 * (slope - 1).square(), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(to_fool, -3 * drawn.square().flatten(1).sum(1), rtol=1e-4, atol=1e-4)
    assert 0 <= float(batch["share"].min()) <= float(batch["share"].max()) <= 1
    assert float(task.sample_losses(models, batch, task.predict(models, batch)).min()) >= 0


def test_noise_does_not_depend_on_the_batch_and_classes_are_kept() -> None:
    task = make_task(job(task_classes=["a", "b"]))
    whole = task.prepare(batch_of(images(6), label=torch.tensor([0, 1, 1, 0, 1, 0])), 3)
    part = task.prepare(batch_of(images(6)[4:], 4, label=torch.tensor([1, 0])), 3)
    assert torch.equal(whole["noise"][4:], part["noise"])
    assert whole["label"].tolist() == [0, 1, 1, 0, 1, 0]
    drawn = task.prepare(Batch.of_nobody(200), 3)["label"]
    assert drawn.shape == (200,)
    assert 60 < int(drawn.sum()) < 140


def test_both_networks_see_the_class() -> None:
    task = make_task(job(task_classes=["a", "b"]))
    models = models_of(build_model(task.job))
    batch = task.prepare(batch_of(images(4), label=torch.zeros(4, dtype=torch.int64)), 3)
    first, second = (task.predict(models, batch.plus(label=torch.full((4,), k))) for k in range(2))
    assert not torch.equal(first["image"], second["image"])
    losses = [
        task.sample_losses(models, batch.plus(label=torch.full((4,), k)), {"realness": torch.zeros(4)})
        for k in range(2)
    ]
    assert not torch.equal(*losses)


@pytest.mark.parametrize("classes", [[], ["a", "b", "c"]])
def test_what_is_drawn_is_in_the_range_of_the_images(classes: list[str]) -> None:
    task = make_task(job(task_classes=classes))
    models = models_of(build_model(task.job))
    drawn = task.draw(models, 6, 0)
    assert drawn.shape == (6, 1, 16, 16)
    assert 0 < float(drawn.min()) < float(drawn.max()) < 1
    assert all(model.training for model in models.values())
    normal = make_task(job(data_intensity="zscore", data_window=None))
    assert float(normal.draw(models_of(build_model(normal.job)), 64, 0).min()) < 0


@pytest.mark.parametrize("norm", ["group", "instance", "batch"])
@pytest.mark.parametrize("size", [[8, 8], [16, 8], [8, 8, 4]])
def test_both_networks_learn_in_2d_and_3d(size: list[int], norm: str) -> None:
    generator = {"name": "generator", "channels": [4, 8], "norm": norm}
    spec = job(data_size=size, data_dimensions=len(size), model_generator=generator)
    task, model = make_task(spec), build_model(spec)
    batch = task.prepare(batch_of(torch.rand(3, 1, *size)), 0)
    for phase in task.phases():
        seen = batch if phase.sees_data else task.prepare(Batch.of_nobody(3), 1)
        losses = phase.loss(models_of(model), seen)
        assert losses.shape == (3,)
        found = torch.autograd.grad(losses.mean(), list(model[phase.name].parameters()))
        assert all(float(gradient.abs().max()) > 0 for gradient in found if gradient.dim() > 1)
    assert about_model_megabytes(spec) * 1e6 == pytest.approx(model_size(spec).each, rel=0.3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data_size": [18, 16]}, r"'generator' needs multiples of 4 along each axis, such as \[20, 16\]"),
        ({"model_generator": {"name": "cnn"}}, r"\[model.generator\] name: 'cnn' is not for generation"),
        ({"model_discriminator": {"name": "generator"}}, r"\[model.discriminator\] name: 'generator' is not"),
        ({"task_classes": ["a"]}, "one class says nothing"),
        ({"task_classes": ["a", "a"]}, "a name appears twice"),
        ({"data_patch": [8, 8]}, r"\[data\] patch: is not for generation"),
        ({"privacy_mechanism": "dp-sgd", "privacy_noise_multiplier": 1.0}, r"\[task\] penalty: must be 0"),
        ({"task_loss": "wasserstein", "task_penalty": 0.0}, "the paper has 10"),
        (
            {
                "task_loss": "wasserstein",
                "privacy_mechanism": "dp-sgd",
                "privacy_noise_multiplier": 1.0,
            },
            "take 'logistic' or 'hinge'",
        ),
        ({"task_kernel_distance": True, "task_features": 64}, "at most 32 with kernel_distance"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(JobError, match=words):
        job(**{"strategy_weight": "equal", **options})


def test_any_network_that_gives_a_vector_may_tell() -> None:
    spec = job(model_discriminator={"name": "cnn", "channels": [4, 8]})
    assert [own.options.name for own in networks_of(spec)] == ["generator", "cnn"]


def test_judging_costs_little_beside_drawing() -> None:
    spec = job(data_size=[64, 64])
    task, models = make_task(spec), models_of(build_model(spec))
    batch = task.prepare(batch_of(images(8, size=(64, 64))), 0)
    with Operators() as drawing:
        predicted = task.predict(models, batch)
    metrics = task.metrics()
    with Operators() as judging:
        task.update(metrics, predicted, batch, torch.zeros(8))
    assert judging.numbers < drawing.numbers / 10
