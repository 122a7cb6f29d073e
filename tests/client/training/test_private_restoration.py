"""Private training of restoration: each image's gradient is known and clipped, whatever it learns from."""

from typing import Any

import pytest
import torch
from torch import Tensor

from client.data.samples.batches import Samples
from client.training.private_loop import PrivateTraining
from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.privacy.randomness import SeededRandomness
from shared.tasks import make_task
from tests.client.training.test_phases import CPU, Seen, weights
from tests.client.training.test_private_training import private_job

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
