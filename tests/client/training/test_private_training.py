"""Private training: who is drawn, how much a patient can change, how much noise there is."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from client.data.samples.batches import Samples
from client.training.clipping import GhostSum, PerSampleSum
from client.training.loop import place_model
from client.training.private_loop import (
    PrivateTraining,
    micro_batches,
    physical_batch,
    poisson_sample,
    units_of,
)
from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.networks import NETWORKS
from shared.networks.build import build_model
from shared.networks.lora import adapters_of
from shared.privacy.randomness import SecretRandomness, SeededRandomness
from shared.tasks import make_task
from shared.tasks.losses import training_loss
from tests.jobs import IMAGE_NETWORKS_IN, TASK_OF
from tests.shared.networks.test_models import SMALL

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")
CPU = torch.device("cpu")
LARGE = {("resnet18", 3), ("resnet50", 3), ("vnet", 3)}
PATIENTS = ["ann", "ben", "ben", "ben", "cas", "dan", "dan", "eve"]


def private_job(tiny_job: Any, task: str = "classification", **changes: Any) -> JobSpec:
    """Return a job that trains privately, for one full-batch step with no noise to speak of."""
    private = {
        "task_name": task,
        "model_norm": "group",
        "data_augment": [],
        "training_batch_size": 100,
        "training_optimizer": "sgd",
        "training_momentum": 0.0,
        "training_learning_rate": 1.0,
        "privacy_mechanism": "dp-sgd",
        "privacy_noise_multiplier": 1e-9,
    }
    return tiny_job(**private | changes)


def samples_for(job: JobSpec, patients: list[str], scale: float = 1.0) -> Samples:
    """Return random images with labels, or masks of what is bright; a patient's depend on no other's."""
    images = []
    for index, patient in enumerate(patients):
        seed = sum(map(ord, patient)) * 100 + patients[:index].count(patient)
        generator = torch.Generator().manual_seed(seed)
        images.append(scale * torch.randn(job.data.channels, *(job.data.size or []), generator=generator))
    stacked = torch.stack(images)
    bright = stacked[:, 0] > 0
    targets = bright.to(torch.uint8) if job.task.name == "segmentation" else bright.flatten(1)[:, 0].long()
    keys = [f"{patient}-{index}" for index, patient in enumerate(patients)]
    spacings = [None] * len(patients)
    columns = {"image": stacked, "mask" if job.task.name == "segmentation" else "label": targets}
    return Samples(job, columns, patients=patients, keys=keys, spacings=spacings)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def train(job: JobSpec, samples: Samples, round_: int = 1, randomness: Any = None) -> torch.Tensor:
    """Train for a round from the initial weights; returns how the weights moved."""
    task = make_task(job)
    model = build_model(job, seed=1)
    before = weights(model)
    drawn = randomness or SeededRandomness(7, round_)
    training = PrivateTraining(model, task, samples, job, site="a", device=CPU, randomness=drawn)
    trained = training.run(round_)
    assert math.isnan(trained.loss)  # which would tell about the patients
    return weights(model) - before


def test_each_patient_is_drawn_independently_with_the_same_chance() -> None:
    randomness, rate, draws = SeededRandomness(1), 0.15, 4000
    drawn = np.zeros((draws, 20), dtype=int)
    for row in drawn:
        row[poisson_sample(randomness, 20, rate)] = 1
    each = drawn.sum(0)
    assert stats.binomtest(int(each.sum()), draws * 20, rate).pvalue > 0.001
    assert stats.chisquare(each).pvalue > 0.001
    sizes = np.bincount(drawn.sum(1), minlength=21)[:8]  # as many at once as independent draws give
    expected = stats.binom.pmf(np.arange(8), 20, rate) * draws
    assert stats.chisquare(sizes, expected * sizes.sum() / expected.sum()).pvalue > 0.001
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.05


def test_every_patient_speaks_once_a_step_however_many_images(tiny_job: Any) -> None:
    class Asked(Samples):
        def batch(self, indices: Any, *, augment_seed: int | None = None) -> Any:
            asked.append(list(indices))
            return super().batch(indices, augment_seed=augment_seed)

    asked: list[list[int]] = []
    for most in (1, 2):
        asked.clear()
        job = private_job(tiny_job, privacy_images_per_patient=most, training_local_epochs=30)
        samples = samples_for(job, PATIENTS)
        samples.__class__ = Asked
        train(job, samples)
        assert len(asked) == 30
        for indices in asked:
            counts = {name: [PATIENTS[index] for index in indices].count(name) for name in PATIENTS}
            assert counts == {"ann": 1, "ben": most, "cas": 1, "dan": most, "eve": 1}
            assert len(set(indices)) == len(indices)
        of_ben = np.bincount([index for indices in asked for index in indices], minlength=8)[1:4]
        assert stats.chisquare(of_ben).pvalue > 0.001  # any of them


@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("most", [1, 3])
def test_a_patient_changes_a_step_by_the_clipping_norm_at_most(tiny_job: Any, task: str, most: int) -> None:
    bound = 0.25
    job = private_job(
        tiny_job,
        task,
        privacy_max_grad_norm=bound,
        privacy_images_per_patient=most,
        privacy_noise_multiplier=0.5,  # the same noise with and without
    )

    class SameImage(SeededRandomness):  # of each patient, whoever else is there
        def uniform(self, count: int) -> NDArray[np.float64]:
            return np.arange(count) / count

    everybody = train(job, samples_for(job, PATIENTS, scale=30), randomness=SameImage(2)) * 5  # patients
    largest = 0.0
    for left_out in dict.fromkeys(PATIENTS):
        others = [name for name in PATIENTS if name != left_out]
        moved = train(job, samples_for(job, others, scale=30), randomness=SameImage(2))
        influence = everybody - moved * 4
        largest = max(largest, float(influence.norm()))
    assert largest <= bound * (1 + 1e-3)
    assert largest > bound * 0.9  # and the images are such that it is needed


def test_a_small_gradient_is_left_as_it_is_and_averaged_over_the_images(tiny_job: Any) -> None:
    job = private_job(tiny_job, privacy_max_grad_norm=1e3, privacy_images_per_patient=3)
    job_samples = samples_for(job, PATIENTS)
    model = build_model(job, seed=1)
    batch = job_samples.batch(range(len(PATIENTS)))
    losses = training_loss(job, None)(model(batch["image"]), batch["label"])
    shares = torch.tensor([1 / PATIENTS.count(name) for name in PATIENTS])
    (losses * shares).sum().div(5).backward()
    expected = -torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    torch.testing.assert_close(train(job, job_samples), expected, rtol=1e-3, atol=1e-5)


def test_the_noise_has_the_deviation_that_was_promised(tiny_job: Any) -> None:
    noise, bound = 1.7, 0.3
    job = private_job(
        tiny_job,
        training_batch_size=4,
        training_local_epochs=None,
        training_local_steps=1,
        privacy_noise_multiplier=noise,
        privacy_max_grad_norm=bound,
        model_channels=[16, 32],
    )
    quiet = job.model_copy(update={"privacy": job.privacy.model_copy(update={"noise_multiplier": 1e-9})})
    samples = samples_for(job, PATIENTS)
    added = torch.cat([train(job, samples, r) - train(quiet, samples, r) for r in range(1, 5)]) * 4
    expected = noise * bound
    assert float(added.std()) == pytest.approx(expected, rel=4 / math.sqrt(2 * len(added)))
    assert abs(float(added.mean())) < 4 * expected / math.sqrt(len(added))
    assert stats.kstest(added.numpy() / expected, "norm").pvalue > 0.001


def test_sites_that_share_the_noise_divide_by_the_same_number(tiny_job: Any) -> None:
    changes: dict[str, Any] = {
        "training_local_epochs": None,
        "training_local_steps": 1,
        "strategy_weight": "equal",
        "strategy_min_sites": 3,
        "privacy_secure_aggregation": True,
    }
    local = private_job(tiny_job, **changes)
    shared = private_job(tiny_job, **changes, privacy_noise="distributed", privacy_honest_sites=3)
    samples = samples_for(local, PATIENTS)  # five patients, where a hundred are expected elsewhere
    assert torch.allclose(train(shared, samples) * 100, train(local, samples) * 5, atol=1e-5)


def test_patients_count_alike_where_a_job_wants_it(tiny_job: Any) -> None:
    """Of two sites the smaller one moves the model less, and its noise is no larger than the other's."""
    few, many = ["ann", "ben"], ["ann", "ben", "cas", "dan"]
    job = private_job(tiny_job, privacy_mean_over="patients", training_batch_size=8)
    by_site = private_job(tiny_job, training_batch_size=8)
    for patients in (few, many):
        alike, by_sites = (train(own, samples_for(own, patients)) for own in (job, by_site))
        torch.testing.assert_close(alike * 8, by_sites * len(patients), rtol=1e-3, atol=1e-6)
    noisy = private_job(
        tiny_job,
        privacy_mean_over="patients",
        privacy_noise_multiplier=50.0,
        privacy_max_grad_norm=1e-3,
        training_batch_size=8,
    )
    deviations = [float(train(noisy, samples_for(noisy, patients)).std()) for patients in (few, many)]
    assert deviations == pytest.approx([50e-3 / 8] * 2, rel=0.1)


def test_a_step_without_anybody_is_noise_alone(tiny_job: Any) -> None:
    job = private_job(tiny_job, privacy_noise_multiplier=1.0)

    class Nobody(SeededRandomness):
        def uniform(self, count: int) -> NDArray[np.float64]:
            return np.ones(count)

    moved = train(job, samples_for(job, PATIENTS), randomness=Nobody(3)) * 5
    assert moved.isfinite().all()
    assert float(moved.std()) == pytest.approx(1.0, rel=4 / math.sqrt(2 * len(moved)))


def test_an_image_that_breaks_the_arithmetic_adds_nothing_and_tells_nothing(tiny_job: Any) -> None:
    for network in ({}, {"model_channels": [600, 600]}):  # per sample, and by ghost clipping
        job = private_job(tiny_job, **network)
        samples = samples_for(job, ["ann", "ben", "cas"])
        samples.columns["image"][1] = math.inf
        without = train(job, samples_for(job, ["ann", "cas"]))
        torch.testing.assert_close(train(job, samples) * 3, without * 2, rtol=1e-3, atol=1e-6)


def test_a_hospital_draws_what_nobody_can_repeat(tiny_job: Any) -> None:
    job = private_job(tiny_job, privacy_noise_multiplier=1.0)
    samples = samples_for(job, PATIENTS)
    assert torch.equal(train(job, samples), train(job, samples))  # a rehearsal repeats
    task = make_task(job)
    models = [build_model(job, seed=1) for _ in range(2)]
    for model in models:
        PrivateTraining(model, task, samples, job, site="a", device=CPU).run(1)  # the default
    assert not torch.allclose(weights(models[0]), weights(models[1]))


def test_secret_numbers_are_uniform_and_normal() -> None:
    secret = SecretRandomness()
    assert stats.kstest(secret.uniform(20_000), "uniform").pvalue > 1e-6
    assert stats.kstest(secret.normal(20_001), "norm").pvalue > 1e-6
    assert not np.array_equal(secret.uniform(4), SecretRandomness().uniform(4))
    assert secret.normal(0).shape == secret.uniform(0).shape == (0,)
    seeds = {secret.seed() for _ in range(50)}
    assert len(seeds) == 50
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_micro_batches_do_not_change_the_step(tiny_job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = private_job(tiny_job, privacy_images_per_patient=2)
    whole = train(job, samples_for(job, PATIENTS))
    monkeypatch.setattr("client.training.private_loop._MOST_IMAGES", 2)
    torch.testing.assert_close(train(job, samples_for(job, PATIENTS)), whole, rtol=1e-4, atol=1e-7)
    assert list(micro_batches([[0], [1, 2], [3], [4, 5, 6]], 3)) == [
        ([0, 1, 2], [0, 1, 1]),
        ([3], [0]),
        ([4, 5, 6], [0, 0, 0]),
    ]


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [
        pytest.param(name, dimensions, marks=pytest.mark.slow if (name, dimensions) in LARGE else ())
        for name, dimensions in IMAGE_NETWORKS_IN
        if NETWORKS[name].obstacle is None
    ],
)
def test_every_private_network_takes_a_private_step(tiny_job: Any, name: str, dimensions: int) -> None:
    small = {"channels": [8, 16, 32]} if "channels" in NETWORKS[name].model_fields else {}
    small |= SMALL.get(name, {})
    norm = "batch" if "norm" in NETWORKS[name].model_fields else None
    network = NETWORKS[name](name=name, **small, **({"norm": norm} if norm else {}))
    size = [min(network.stride, 32)] * dimensions
    while network.size_problem(size):
        size[-1] += network.stride
    job = private_job(
        tiny_job,
        TASK_OF[network.gives],
        model={"name": name, **small, **({"norm": norm} if norm else {})},
        data_dimensions=dimensions,
        data_size=size,
        data_channels=1,
        privacy_max_grad_norm=0.5,
        privacy_noise_multiplier=1e-9,
    )
    moved = train(job, samples_for(job, ["ann", "ben"]))
    assert moved.isfinite().all()
    assert 0.001 < float(moved.norm()) <= 0.5 * (1 + 1e-3)  # the mean of two gradients, each clipped to 0.5


@pytest.mark.parametrize("name", ["cnn", "resnet18", "dynunet", "unet"])
def test_ghost_clipping_gives_the_same_sum(tiny_job: Any, name: str) -> None:
    task_name = TASK_OF[NETWORKS[name].gives]
    changes = {} if name in ("cnn", "unet") else {"model_channels": None}
    if name == "dynunet":
        changes = {"model_channels": [8, 16, 32], "model_num_res_units": None}
    job = private_job(tiny_job, task_name, model_name=name, data_size=[32, 32], **changes)
    samples, task = samples_for(job, ["ann", "ben", "cas"]), make_task(job)
    [loss], sums = [phase.loss for phase in task.phases()], []
    for kind in (PerSampleSum, GhostSum):
        model = build_model(job, seed=1)
        clipped = kind(model, partial(loss, {"model": model}), 0.05, task.targets)
        clipped.add(samples.batch([0, 1, 2]), torch.arange(3))
        sums.append(torch.cat([total.flatten() for total in clipped.take()]))
        clipped.close()
        assert not any(hasattr(parameter, "grad_sample") for parameter in model.parameters())
    torch.testing.assert_close(*sums, rtol=1e-3, atol=1e-6)


def test_large_networks_clip_without_the_gradients_of_samples(tiny_job: Any) -> None:
    small = [nn.Parameter(torch.empty(10_000, device="meta"))]
    large = [nn.Parameter(torch.empty(20_000_000, device="meta"))]
    job = private_job(tiny_job)
    assert physical_batch(job, small) == (32, False)
    assert physical_batch(job, large) == (32, True)
    several = private_job(tiny_job, privacy_images_per_patient=4)
    assert physical_batch(several, large) == (3, False)
    volumes = private_job(tiny_job, data_dimensions=3, data_size=[128] * 3)
    assert physical_batch(volumes, small) == (1, False)


def test_units_are_patients_or_images(tiny_job: Any) -> None:
    patients = units_of(PATIENTS, private_job(tiny_job))
    assert [unit.tolist() for unit in patients] == [[0], [1, 2, 3], [4], [5, 6], [7]]
    images = units_of(PATIENTS, private_job(tiny_job, privacy_unit="image"))
    assert [unit.tolist() for unit in images] == [[index] for index in range(8)]


def test_two_images_move_a_detector_by_their_own_clipped_gradients(tiny_job: Any) -> None:
    """One has two boxes and the other none; the bound lies between the norms of their gradients."""
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    boxes = [torch.tensor([[1.0, 2, 7, 6, 0], [9, 8, 14, 15, 0]]), torch.zeros(0, 5)]
    task = make_task(private_job(tiny_job, "detection"))
    model = build_model(task.job, seed=1)
    gradients = []
    for image, own in zip(images, boxes, strict=True):
        [phase] = task.phases()
        loss = phase.loss({"model": model}, Batch({"image": image[None], "boxes": [own]}, ["p"]))
        found = torch.autograd.grad(loss.sum(), list(model.parameters()))
        gradients.append(torch.cat([gradient.flatten() for gradient in found]))
    norms = [float(gradient.norm()) for gradient in gradients]
    assert norms[0] > norms[1] > 0
    middle = sum(norms) / 2
    job = private_job(tiny_job, "detection", privacy_max_grad_norm=middle)
    columns = {"image": images, "boxes": boxes}
    samples = Samples(job, columns, patients=["a", "b"], keys=["a", "b"], spacings=[None, None])
    expected = -(gradients[0] * middle / norms[0] + gradients[1]) / 2
    torch.testing.assert_close(train(job, samples), expected, rtol=1e-3, atol=1e-5 * middle)


def test_two_images_move_what_finds_instances_by_their_own_clipped_gradients(tiny_job: Any) -> None:
    """One has two objects and the other none; the bound lies between the norms of their gradients."""
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    numbers = torch.zeros(2, 16, 16, dtype=torch.int32)
    numbers[0, 2:9, 2:7], numbers[0, 2:9, 7:14] = 1, 2
    task = make_task(private_job(tiny_job, "instances"))
    model = build_model(task.job, seed=1)
    gradients = []
    for image, own in zip(images, numbers, strict=True):
        [phase] = task.phases()
        batch = task.prepare(Batch({"image": image[None], "instances": own[None]}, ["p"], keys=["k"]), 1)
        loss = phase.loss({"model": model}, batch)
        found = torch.autograd.grad(loss.sum(), list(model.parameters()))
        gradients.append(torch.cat([gradient.flatten() for gradient in found]))
    norms = [float(gradient.norm()) for gradient in gradients]
    middle = sum(norms) / 2
    job = private_job(tiny_job, "instances", privacy_max_grad_norm=middle)
    columns = {"image": images, "instances": numbers}
    samples = Samples(job, columns, patients=["a", "b"], keys=["a", "b"], spacings=[None, None])
    expected = -sum(g * min(1.0, middle / n) for g, n in zip(gradients, norms, strict=True)) / 2
    torch.testing.assert_close(train(job, samples), expected, rtol=1e-3, atol=1e-5 * middle)


def test_a_step_on_remembered_features_is_that_of_the_whole_network(tiny_job: Any) -> None:
    model = {"name": "efficientnet-lite0", "start": "imagenet", "norm": "frozen", "unit_features": True}
    job = private_job(
        tiny_job,
        model=model,
        model_norm="frozen",
        data_size=[64, 64],
        data_channels=3,
        update_parts=["head"],
        privacy_max_grad_norm=0.3,
    )
    samples, task, moved = samples_for(job, PATIENTS), make_task(job), []
    for prepare in (place_model, lambda model, *_: model):
        network = prepare(build_model(job, seed=1), job, CPU)
        before = weights(network)
        drawn = SeededRandomness(7)
        PrivateTraining(network, task, samples, job, site="a", device=CPU, randomness=drawn).run(1)
        moved.append(weights(network) - before)
    remembered, whole = moved
    assert 0.001 < float(whole.norm()) <= 0.3 * (1 + 1e-3)
    torch.testing.assert_close(remembered, whole, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn", "unet", "efficientnet-lite0"])
def test_adapters_are_trained_privately(tiny_job: Any, name: str) -> None:
    """The noise of a step is on the adapters alone, and a patient moves them by the clipping norm at most."""
    task = TASK_OF[NETWORKS[name].gives]
    model = {"name": name, "norm": "group", "lora": {"rank": 2}}
    job = private_job(
        tiny_job, task, model=model, model_norm="group", data_size=[64, 64], privacy_max_grad_norm=0.5
    )
    samples = samples_for(job, ["ann", "ben"])
    network = build_model(job, seed=1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    drawn = SeededRandomness(7)
    PrivateTraining(network, make_task(job), samples, job, site="a", device=CPU, randomness=drawn).run(1)
    after = network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert moved <= adapters_of(network)
    change = torch.cat([(after[name] - before[name]).flatten() for name in moved])
    assert 0.001 < float(change.norm()) <= 0.5 * (1 + 1e-3)
