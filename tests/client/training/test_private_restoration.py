"""Private training to restore and to make images: each image's gradient is known and clipped."""

from typing import Any

import pytest
import torch
from torch import Tensor

from client.data.samples.batches import Samples
from client.training.private_loop import PrivateTraining
from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.networks.build import build_model, models_of
from shared.privacy.randomness import SeededRandomness
from shared.tasks import make_task
from tests.client.training.test_phases import CPU, PRIVATE, Seen, weights
from tests.client.training.test_private_training import private_job
from tests.jobs import make_job

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")


def gradient(job: JobSpec, batch: Batch) -> Tensor:
    model, [phase] = build_model(job), make_task(job).phases()
    found = torch.autograd.grad(phase.loss({"model": model}, batch).sum(), list(model.parameters()))
    return torch.cat([own.flatten() for own in found])


def step(job: JobSpec) -> tuple[Tensor, Batch]:
    """Return how a step moved the weights, and the batch of two patients behind it."""
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    columns = {"image": images, "scale": torch.tensor([[[0.0, 255.0]]] * 2)}
    samples = Samples(job, columns, patients=["a", "b"], keys=["a", "b"], spacings=[None, None])
    model, seen = build_model(job), Seen(make_task(job))
    before = weights(model)
    PrivateTraining(model, seen.task, samples, job, site="a", device=CPU, randomness=SeededRandomness(7)).run(
        1
    )
    return weights(model) - before, Batch.joined([seen.batches[-1][1]])


@pytest.mark.parametrize("learns_from", ["clean", "noise2noise", "noise2void"])
def test_two_images_move_a_restorer_by_their_own_clipped_gradients(tiny_job: Any, learns_from: str) -> None:
    """The bound lies between the norms of their gradients."""
    options = {
        "task_learns_from": learns_from,
        "task_loss": "l2",
        "task_ssim_weight": 0.5 if learns_from == "clean" else 0.0,
        "data_intensity": "window",
        "data_window": [0.0, 255.0],
    }
    _, batch = step(private_job(tiny_job, "restoration", **options))
    job = private_job(tiny_job, "restoration", **options)
    gradients = [gradient(job, batch.chosen([place])) for place in (0, 1)]
    norms = [float(own.norm()) for own in gradients]
    middle = sum(norms) / 2
    assert min(norms) < middle < max(norms)
    moved, again = step(private_job(tiny_job, "restoration", privacy_max_grad_norm=middle, **options))
    assert torch.equal(again["degraded"], batch["degraded"])
    expected = -sum(own * min(1.0, middle / norm) for own, norm in zip(gradients, norms, strict=True)) / 2
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-5 * middle)


def test_two_networks_have_clipped_gradients_each() -> None:
    """Of pix2pix both phases see data: each step is of two patients whose gradients are known."""
    networks = {
        "generator": {"name": "unet", "channels": [4, 8], "num_res_units": 0, "norm": "instance"},
        "discriminator": {"name": "discriminator", "channels": [4, 8]},
    }
    options = {"task_name": "synthesis", "task_method": "pix2pix", "model": networks, **PRIVATE}
    spec = make_job(**options, task_closeness=2.0, privacy_max_grad_norm=0.1)
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    columns = {"image": images[:2], "reference": images[2:], "scale": torch.tensor([[[0.0, 255.0]]] * 2)}
    samples = Samples(spec, columns, patients=["a", "b"], keys=["a", "b"], spacings=[None, None])
    model, seen = build_model(spec), Seen(make_task(spec))
    PrivateTraining(
        model, seen.task, samples, spec, site="a", device=CPU, randomness=SeededRandomness(1)
    ).run(1)
    plain, last = build_model(spec), {phase.name: batch for phase, batch in seen.batches}
    for phase in make_task(spec).phases():
        batch, parameters = last[phase.name], list(plain[phase.name].parameters())
        flat = []
        for place in range(len(batch)):
            one = phase.loss(models_of(plain), batch.chosen([place])).mean()
            flat.append(torch.cat([part.flatten() for part in torch.autograd.grad(one, parameters)]))
        assert max(float(one.norm()) for one in flat) > 0.1
        step = torch.stack([one * min(1.0, 0.1 / float(one.norm())) for one in flat]).mean(0)
        for parameter, part in zip(parameters, step.split([own.numel() for own in parameters]), strict=True):
            parameter.data -= part.view(parameter.shape)
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-3, atol=1e-5)
