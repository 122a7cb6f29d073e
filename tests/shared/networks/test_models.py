"""The networks: each is built, trains, and starts from the same bits wherever it is built."""

import copy
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from shared.job.schema import JobSpec
from shared.networks import NETWORKS
from shared.networks.build import build_model
from shared.tasks import make_task
from shared.wire.packed_model import Layout
from tests.batches import predict
from tests.jobs import IMAGE_NETWORKS, IMAGE_NETWORKS_IN, TASK_OF, make_job

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")  # Opacus hooks the first layer too

OUTPUTS = 3
SMALL: dict[str, dict[str, Any]] = {
    "vit": {"features": 24, "layers": 2, "heads": 2},
    "belief-network": {"hidden": [16, 8]},
    "unet": {"channels": [8, 16, 32]},
    "dynunet": {"channels": [8, 16, 32]},
    "attention-unet": {"channels": [8, 16, 32]},
    "segresnet": {"features": 8},
    "swin-unetr": {"features": 12},
    "voxelmorph": {"channels": [4, 8], "last": [4]},
    "globalnet": {"features": 4, "levels": 1},
    "dncnn": {"features": 8, "layers": 3},
    "vgg": {"width": 1 / 16, "hidden": 8},
    "inception": {"width": 1 / 16},
    "senet": {"layers": [1, 1, 1, 1]},
    "capsule": {"features": 4, "types": 2, "kernel": 3},
    "fcn": {"channels": [8, 16, 32]},
    "segnet": {"channels": [8, 16]},
    "two-paths": {"channels": [8, 8], "hidden": 8},
    "cascade": {"channels": [8, 16]},
    "dense-unet": {"features": 8, "growth": 4, "layers": [2, 2]},
    "unet++": {"channels": [4, 4, 4, 4, 4]},
    "highresnet": {"features": 2, "repeat": 1},
    "mednext": {"features": 4},
    "segresnet-ds": {"features": 4, "blocks": [1, 1, 1]},
    "unetr": {"features": 2, "hidden": 16, "heads": 2},
}
EVERY = IMAGE_NETWORKS
DRAWN = ["cnn", "dynunet", "resnet18", "swin-unetr", "vit"]  # one of each way to draw weights
NORMED = [name for name in EVERY if "norm" in NETWORKS[name].model_fields]


def small_job(name: str, dimensions: int = 2, **options: Any) -> JobSpec:
    """Return a job with a small version of the network, on the smallest images that the job's rules allow."""
    options = {**SMALL.get(name, {}), **options}
    network = NETWORKS[name](name=name, **options)
    if name not in IMAGE_NETWORKS:
        return make_job(task_name="survival", task_columns=["a", "b"], model={"name": name, **options})
    shortest = network.stride if network.divisor > 1 or network.size_problem([1, 1000]) else 1
    if network.gives == "map" and network.divisor == 1:
        shortest = 3  # of which a test takes one away
    size = [shortest] * dimensions
    while network.size_problem(size) is not None:
        size[-1] += network.divisor
    task = TASK_OF[network.gives]
    return make_job(
        task_name=task,
        task_classes=["a", "b", "c"][: OUTPUTS - (network.gives == "map")],
        model={"name": name, **options},
        data_dimensions=dimensions,
        data_size=size,
        data_channels=2,
    )


def images_for(job: JobSpec, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if job.data.size is None:
        return torch.randn(batch, job.task.networks(job.data)["model"].channels, generator=generator)
    return torch.randn(batch, job.data.channels, *(job.data.size or []), generator=generator)


def sample_losses(logits: Tensor) -> Tensor:
    """Return one loss (B,) a sample; each logit has another target, so that no gradient cancels."""
    targets = torch.linspace(-1, 1, logits[0].numel()).view_as(logits[0])
    return (logits - targets).square().flatten(1).mean(1)


@pytest.mark.parametrize(("name", "dimensions"), IMAGE_NETWORKS_IN)
def test_a_network_takes_a_training_step(name: str, dimensions: int) -> None:
    job = small_job(name, dimensions)
    model = build_model(job, seed=1)
    before = copy.deepcopy(model)
    images = images_for(job)

    torch.manual_seed(1)  # efficientnet-b0 skips blocks at random, and must not skip one for both images
    logits = model(images)
    loss = sample_losses(logits).mean()
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()

    positions = images.shape[2:] if job.task.name == "segmentation" else ()
    assert logits.shape == (2, OUTPUTS, *positions)
    assert loss.isfinite()
    for (tensor, new), old in zip(model.named_parameters(), before.parameters(), strict=True):
        assert new.isfinite().all()
        assert new.ndim < 2 or not torch.equal(new, old), f"{tensor} did not move"


HALVING = [name for name in EVERY if NETWORKS[name].gives == "map" and NETWORKS[name](name=name).divisor > 1]


@pytest.mark.parametrize("name", HALVING)
def test_a_task_fits_odd_images_to_a_segmentation_network(name: str) -> None:
    job = small_job(name)
    images = images_for(job, batch=1)[..., 1:, :-1]
    logits = predict(make_task(job), build_model(job, seed=1), images)
    assert logits.shape == (1, OUTPUTS, *images.shape[2:])


@pytest.mark.parametrize("norm", ["instance", "batch", "group"])
@pytest.mark.parametrize("name", NORMED)
def test_one_smallest_image_is_enough_for_every_norm(name: str, norm: str) -> None:
    job = small_job(name, norm=norm)
    model = build_model(job, seed=1)
    assert model(images_for(job, batch=1)).isfinite().all()
    has_batch_norm = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert has_batch_norm == (norm == "batch")


def weights_digest(name: str, seed: int) -> str:
    model = build_model(small_job(name), seed=seed)
    return hashlib.sha256(Layout.of(model).pack(model).tobytes()).hexdigest()


@pytest.mark.parametrize("name", EVERY)
def test_the_seed_alone_decides_the_initial_weights(name: str) -> None:
    torch.manual_seed(5)
    first = weights_digest(name, seed=1)
    follows = torch.rand(1)
    torch.manual_seed(5)
    assert torch.rand(1) == follows  # the global generator was left alone

    assert weights_digest(name, seed=1) == first
    assert weights_digest(name, seed=2) != first


def test_another_process_with_other_threads_starts_from_the_same_bits() -> None:
    code = "\n".join(
        [
            "import importlib.util",
            f"spec = importlib.util.spec_from_file_location('here', {__file__!r})",
            "here = importlib.util.module_from_spec(spec)",
            "spec.loader.exec_module(here)",
            "print(*[here.weights_digest(name, seed=1) for name in here.DRAWN])",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [weights_digest(name, seed=1) for name in DRAWN]


@pytest.mark.parametrize("name", sorted({*EVERY} - {"efficientnet-b0", "resnet50"}))
def test_dropout_is_off_unless_it_is_asked_for(name: str) -> None:
    def repeats(**options: float) -> bool:
        job = small_job(name, **options)
        model = build_model(job, seed=1)
        with torch.no_grad():
            return torch.equal(model(images_for(job)), model(images_for(job)))

    assert repeats(dropout=0.0)
    assert not repeats(dropout=0.5)


def per_sample_gradients(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Return each parameter's gradients (B, ...) by Opacus; like private training, with nothing in place."""
    private = ModuleValidator.fix(model)
    for module in private.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    hooked = GradSampleModule(private, loss_reduction="sum")
    sample_losses(hooked(images)).sum().backward()
    return [parameter.grad_sample for parameter in hooked.parameters()]


@pytest.mark.parametrize("name", [name for name in EVERY if NETWORKS[name].obstacle is None])
def test_a_private_network_gives_the_gradient_of_each_sample(name: str) -> None:
    job = small_job(name)
    model = build_model(job, seed=1)
    images = images_for(job)
    plain = copy.deepcopy(model)
    torch.manual_seed(0)  # what efficientnet-b0 skips at random must be the same twice
    sample_losses(plain(images)).sum().backward()
    torch.manual_seed(0)
    samples = per_sample_gradients(model, images)

    expected = [parameter.grad for parameter in plain.parameters()]
    largest = max(float(gradient.abs().max()) for gradient in expected if gradient is not None)
    for gradient, sample in zip(expected, samples, strict=True):
        assert sample.shape == (len(images), *gradient.shape)
        torch.testing.assert_close(sample.sum(0), gradient, rtol=1e-3, atol=1e-5 * largest)


@pytest.mark.parametrize("name", [name for name in EVERY if NETWORKS[name].obstacle])
def test_a_network_that_is_not_private_is_one_that_opacus_fails_on(name: str) -> None:
    job = small_job(name)
    with pytest.raises((RuntimeError, TypeError, NotImplementedError)):
        per_sample_gradients(build_model(job, seed=1), images_for(job))
