"""Variational autoencoders and diffusion: what is minimised, what is drawn, and one gradient per sample."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from client.training.clipping import PerSampleSum, clip_factors
from shared.batch import Batch
from shared.errors import JobError
from shared.job.model_size import model_size
from shared.job.rules import about_model_megabytes
from shared.job.schema import JobSpec
from shared.networks.build import build_model, models_of
from shared.networks.start_weights import match
from shared.tasks import make_task
from shared.tasks.diffusion.options import STEPS
from tests.jobs import make_job

CLASSES = {"task_classes": ["small", "large"]}
LATENT = {
    "task_latent": {"book": 8, "cell": 2, "width": 4},
    "model": {
        "autoencoder": {"name": "vqvae", "channels": [8], "width": 4},
        "denoiser": {"name": "diffusion-unet", "channels": [8, 16]},
    },
}
KINDS: list[dict[str, Any]] = [
    {"task_name": "vae"},
    {"task_name": "vae"} | CLASSES,
    {"task_name": "vq-vae"} | CLASSES,
    {"task_name": "diffusion"},
    {"task_name": "diffusion", "task_method": "flow"} | CLASSES,
    {"task_name": "diffusion", "task_method": "flow"} | CLASSES | LATENT,
]


def batch_of(spec: JobSpec, count: int, seed: int = 0) -> Batch:
    """Return grey images with a brighter square, prepared."""
    generator = torch.Generator().manual_seed(seed)
    size = spec.data.size or []
    images = torch.rand(count, 1, *size, generator=generator) * 0.2
    for image, low in zip(
        images, torch.randint(0, size[0] // 2, (count,), generator=generator).tolist(), strict=True
    ):
        image[0, low : low + size[0] // 2, low : low + size[0] // 2] += 0.6
    values: dict[str, Any] = {"image": images}
    if CLASSES["task_classes"] == list(getattr(spec.task, "classes", [])):
        values["label"] = torch.arange(count) % 2
    batch = Batch(values, [f"p{number}" for number in range(count)], keys=[str(n) for n in range(count)])
    return make_task(spec).prepare(batch, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axes", [2, 3])
def test_images_are_drawn_as_large_as_the_hospitals_by_the_seed_alone(
    kind: dict[str, Any], axes: int
) -> None:
    spec = make_job(**kind, data_dimensions=axes, data_size=[8] * axes, data_augment=None)
    task, models = make_task(spec), models_of(build_model(spec))
    drawn = task.draw(models, 3, 5)
    assert drawn is not None
    assert drawn.shape == (3, 1, *[8] * axes)
    assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1
    torch.testing.assert_close(drawn, task.draw(models, 3, 5))
    torch.testing.assert_close(task.draw(models, 2, 5), drawn[:2], atol=1e-5, rtol=1e-4)
    assert not torch.equal(drawn, task.draw(models, 3, 6))
    batch, metrics = batch_of(spec, 4), task.metrics()
    predicted = task.predict(models, batch)
    task.update(metrics, predicted, batch, task.sample_losses(models, batch, predicted))
    assert math.isfinite(metrics.compute()["frechet"])


# Without those that learn a book: features grow before codes follow them, so the loss rises at first.
@pytest.mark.parametrize(
    "kind", [own for own in KINDS if own["task_name"] != "vq-vae" and "task_latent" not in own]
)
def test_losses_are_of_each_image_and_fall(kind: dict[str, Any]) -> None:
    spec = make_job(**kind)
    task, network = make_task(spec), build_model(spec)
    models, batch = models_of(network), batch_of(spec, 6)
    losses = task.losses(models, batch)
    torch.testing.assert_close(
        torch.cat([task.losses(models, batch.chosen([n])) for n in range(6)]), losses, atol=1e-4, rtol=1e-3
    )
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(20):
        optimizer.zero_grad()
        task.losses(models, batch).mean().backward()
        optimizer.step()
    assert float(task.losses(models, batch).detach().mean()) < 0.9 * float(losses.detach().mean())


def test_the_bound_is_that_of_kingma_and_welling() -> None:
    spec = make_job(task_name="vae", task_deviation=0.5)
    task, batch = make_task(spec), batch_of(make_job(task_name="vae"), 2)
    mean, variance = torch.randn(2, 8), torch.rand(2, 8) + 0.5
    rebuilt = torch.rand_like(batch["image"])
    found = task.sample_losses({}, batch, {"rebuilt": rebuilt, "mean": mean, "log_variance": variance.log()})
    own = torch.distributions.Normal(mean, variance.sqrt())
    divergence = torch.distributions.kl_divergence(own, torch.distributions.Normal(0.0, 1.0)).sum(1)
    likeness = torch.distributions.Normal(rebuilt, 0.5).log_prob(batch["image"]) + math.log(
        0.5 * math.sqrt(2 * math.pi)
    )
    torch.testing.assert_close(found * batch["image"][0].numel(), divergence - likeness.flatten(1).sum(1))


@pytest.mark.parametrize("method", ["noise", "flow"])
def test_a_network_that_knows_the_image_draws_it(method: str) -> None:
    """With what is true of every noisy image in place of a network, the image itself comes out."""
    spec = make_job(task_name="diffusion", task_method=method, task_drawing_steps=50)
    task = make_task(spec)
    image = batch_of(spec, 2)["image"]
    alphas = task._noises.alphas_cumprod

    class Knows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nothing = torch.nn.Parameter(torch.zeros(1))

        def forward(self, seen: Tensor) -> Tensor:
            noisy, amount = seen[:, :1], float(seen[0, 1, 0, 0])
            centred = 2 * image - 1
            if method == "flow":
                return (centred - noisy) / max(amount, 1 / STEPS)
            share = alphas[round(amount * STEPS)]
            return (noisy - share.sqrt() * centred) / (1 - share).sqrt()

    drawn = task.predict({"model": Knows()}, batch_of(spec, 2))["image"]
    torch.testing.assert_close(drawn, image, atol=0.02, rtol=0)


def test_an_autoencoder_of_another_job_is_taken_and_stays_as_it_is() -> None:
    codes = make_job(
        task_name="vq-vae", task_cell=2, task_book=8, model_autoencoder=LATENT["model"]["autoencoder"]
    )
    spec = make_job(task_name="diffusion", **LATENT, update={"parts": ["denoiser"]})
    network = build_model(spec)
    models, given = models_of(network), build_model(codes).state_dict()
    assert not match(models["autoencoder"], given).missing
    task, batch = make_task(spec), batch_of(spec, 4)
    trained = [own for own in network.parameters() if own.requires_grad]
    assert {id(own) for own in trained} == {id(own) for own in models["denoiser"].parameters()}
    optimizer, missed = torch.optim.Adam(trained, 0.01), []
    for _ in range(20):
        optimizer.zero_grad()
        found = task.forward(models, batch)
        task.sample_losses(models, batch, found).mean().backward()
        optimizer.step()
        missed.append(float((found["said"] - found["true"]).detach().square().mean()))
    assert missed[-1] < 0.9 * missed[0]


PRIVATE = {"privacy": {"mechanism": "dp-sgd", "noise_multiplier": 1.0, "delta": 1e-5}}


@pytest.mark.parametrize("kind", KINDS)
def test_each_image_is_clipped_by_its_own_gradient(kind: dict[str, Any]) -> None:
    spec = make_job(**kind, **PRIVATE, data_augment=None)
    task, network = make_task(spec), build_model(spec)
    models, batch = models_of(network), batch_of(spec, 2)
    parameters = [own for own in network.parameters() if own.requires_grad]
    for own in parameters:  # some are zero at first, and with them all gradients before
        own.data += 0.05 * torch.randn(own.shape, generator=torch.Generator().manual_seed(own.numel()))
    alone = [
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        for loss in task.losses(models, batch)
    ]
    norms = torch.stack(
        [torch.cat([own.flatten() for own in found if own is not None]).norm() for found in alone]
    )
    most = float(norms.mean())
    clipped = PerSampleSum(network, lambda some: task.losses(models, some), most, task.targets)
    clipped.add(batch.each(lambda _, value: value.detach().clone()), torch.arange(2))
    factors = clip_factors(norms, most)
    for total, *own in zip(clipped.take(), *alone, strict=True):
        expected = sum(factor * part for factor, part in zip(factors, own, strict=True) if part is not None)
        torch.testing.assert_close(total, torch.as_tensor(expected).expand_as(total), rtol=1e-3, atol=1e-4)
    clipped.close()


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("model", [{}, {"channels": [16, 32], "blocks": 2}])
def test_about_how_large_a_network_is_is_known_before_it_is_built(axes: int, model: dict[str, Any]) -> None:
    spec = make_job(
        task_name="diffusion",
        model={"name": "diffusion-unet"} | model,
        data_dimensions=axes,
        data_size=[16] * axes,
    )
    assert about_model_megabytes(spec) == pytest.approx(model_size(spec).each / 1e6, rel=1 / 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_name": "diffusion", "data_size": [15, 16]}, "multiples of 2"),
        ({"task_name": "diffusion", "model": {"name": "unet"}}, "diffusion-unet"),
        ({"task_name": "diffusion", "data_intensity": "none", "data_window": None}, "one range"),
        (
            {"task_name": "diffusion"} | LATENT | {"task_latent": {"cell": 4, "width": 4}},
            "2 pixels become one",
        ),
        ({"task_name": "diffusion"} | LATENT | {"task_latent": {"cell": 2}}, "must be 4, as in"),
        ({"task_name": "vae", "task_classes": ["one"]}, "one class says nothing"),
        ({"task_name": "vq-vae", "task_cell": 8}, r"4 pixels become one position, and \[task\] cell is 8"),
        ({"task_name": "vq-vae", "data_size": [18, 16]}, "multiples of 4"),
        ({"task_name": "vq-vae", "data_size": [160, 160]}, "1600 codes, and 1024 is the most"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError, match=said):
        make_job(**options)
