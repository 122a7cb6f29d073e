"""Deep supervision, and what single networks promise of themselves."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.batch import Batch
from shared.errors import JobError
from shared.networks import NETWORKS
from shared.networks.build import build_model
from shared.networks.options import DeepMapOptions
from shared.networks.vector_modules import squash
from shared.tasks import make_task
from shared.tasks.losses import training_loss
from tests.batches import predict
from tests.jobs import make_job
from tests.shared.networks.test_models import (
    SMALL,
    images_for,
    per_sample_gradients,
    sample_losses,
    small_job,
)

DEEP = [name for name, options in NETWORKS.items() if issubclass(options, DeepMapOptions)]


def deep_job(name: str, **options: Any) -> Any:
    model = {"name": name, **SMALL.get(name, {}), "deep_supervision": True}
    return make_job(task_classes=["a"], model=model, data_size=[32, 48], data_channels=2, **options)


@pytest.mark.parametrize("name", DEEP)
def test_a_deeply_supervised_network_is_taught_at_several_levels_and_judged_at_one(name: str) -> None:
    job = deep_job(name)
    model, task = build_model(job, seed=1), make_task(job)
    images = images_for(job)[..., :-1]  # padded to 48, and cut back
    batch = Batch({"image": images, "mask": torch.zeros(2, 32, 47, dtype=torch.uint8)}, ["ann", "ben"])
    maps = task.forward({"model": model}, batch)["logits"]
    assert maps.shape[1] > 1
    assert maps.shape == (2, maps.shape[1], 2, 32, 47)
    assert predict(task, model, images).shape == (2, 2, 32, 47)
    losses = task.phases()[0].loss({"model": model}, batch)
    assert losses.shape == (2,)
    losses.sum().backward()
    copy.deepcopy(model)  # nothing of a step is held on to
    unmoved = [tensor for tensor, own in model.named_parameters() if own.grad is None]
    assert unmoved == []


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.parametrize("name", [name for name in DEEP if NETWORKS[name].obstacle is None])
def test_private_training_has_the_gradient_of_each_sample_at_all_levels(name: str) -> None:
    job = deep_job(name)
    model, images = build_model(job, seed=1), images_for(job)
    plain = copy.deepcopy(model)
    sample_losses(plain(images)).sum().backward()
    samples = per_sample_gradients(model, images)
    expected = [parameter.grad for parameter in plain.parameters()]
    largest = max(float(gradient.abs().max()) for gradient in expected if gradient is not None)
    for gradient, sample in zip(expected, samples, strict=True):
        assert sample.shape[0] == len(images)
        torch.testing.assert_close(sample.sum(0), gradient, rtol=1e-3, atol=1e-5 * largest)


def test_each_level_counts_half_of_the_finer_one() -> None:
    job = make_job(task_classes=["a"], task_loss="cross-entropy")
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 2, 4, 4, generator=draw)
    targets = torch.randint(0, 2, (2, 4, 4), generator=draw)
    loss = training_loss(job, None)
    single = [loss(maps[:, level], targets) for level in range(3)]
    torch.testing.assert_close(loss(maps, targets), (4 * single[0] + 2 * single[1] + single[2]) / 7)


def test_a_task_of_boxes_is_not_supervised_deeply() -> None:
    model = {"name": "dynunet", "channels": [8, 16, 32], "deep_supervision": True}
    with pytest.raises(
        JobError, match=r"\[model\] deep_supervision: is for tasks with a mask, not for detection"
    ):
        make_job(task_name="detection", model=model, data_size=[32, 32])


VARIANTS = [
    *(("vgg", {"variant": variant}) for variant in ("alexnet", "vgg13", "vgg16", "vgg19")),
    *(("senet", {"variant": variant}) for variant in ("se-resnext", "resnext")),
    ("fcn", {"skips": 0}),
    ("mednext", {"variant": "B", "kernel": 5}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_variant_gives_what_its_network_gives(name: str, options: dict[str, Any]) -> None:
    job = small_job(name, **options)
    with torch.no_grad():
        logits: Tensor = build_model(job, seed=1)(images_for(job))
    assert logits.shape[:2] == (2, 3)
    assert logits.isfinite().all()


def test_a_hybrid_looks_at_planes_and_at_the_volume() -> None:
    job = small_job("dense-unet", 3, hybrid=True)
    model = build_model(job, seed=1)
    images = images_for(job)
    assert model(images).shape == (2, 3, *images.shape[2:])
    kernels = {tuple(module.kernel_size) for module in model.modules() if isinstance(module, torch.nn.Conv3d)}
    assert {(3, 3, 1), (3, 3, 3)} <= kernels
    with pytest.raises(JobError, match=r"\[model\] hybrid: is for volumes"):
        make_job(model={"name": "dense-unet", "hybrid": True}, data_size=[32, 32])


def test_the_length_of_a_capsule_is_the_chance_of_its_class() -> None:
    """Equation 1 of Sabour et al. 2017: a vector of length 2 becomes one of 4/5."""
    short = squash(torch.tensor([[0.0, 2.0]]), dim=1)
    torch.testing.assert_close(short, torch.tensor([[0.0, 0.8]]), atol=1e-6, rtol=0)
    job = small_job("capsule")
    model = build_model(job, seed=1)
    chances = model(images_for(job)).sigmoid()
    assert ((chances > 0) & (chances < 1)).all()
    bright = model(100 * images_for(job)).sigmoid()
    assert (bright < 1).all()


def test_a_network_of_one_size_takes_smaller_images() -> None:
    job = make_job(
        model={"name": "unetr", **SMALL["unetr"]}, task_classes=["a"], data_size=[32, 48], data_channels=2
    )
    model = build_model(job, seed=1).eval()
    assert predict(make_task(job), model, torch.randn(1, 2, 20, 33)).shape == (1, 2, 20, 33)


def test_alexnet_steps_by_four() -> None:
    job = small_job("vgg", variant="alexnet")
    first = next(module for module in build_model(job).modules() if isinstance(module, torch.nn.Conv2d))
    assert (first.kernel_size, first.stride) == ((11, 11), (4, 4))
    assert first.out_channels == math.ceil(96 / 16)
