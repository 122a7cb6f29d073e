"""Private training of a regression: each patient's gradient is known and clipped."""

import math
from typing import Any

import pytest
import torch

from client.data.samples.batches import Samples
from shared.networks.build import build_model
from tests.client.training.test_private_training import private_job, train

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")


@pytest.mark.parametrize("bound", [0.3, 100.0])
def test_the_update_is_the_mean_of_two_clipped_gradients(tiny_job: Any, bound: float) -> None:
    job = private_job(
        tiny_job,
        "regression",
        task_image=False,
        task_columns=["grade"],
        task_scaling={"age": [50.0, 20.0], "grade": [2.0, 0.5]},
        task_loss="mse",
        model={"name": "mlp", "hidden": []},
        data={},
        privacy_max_grad_norm=bound,
    )
    columns = {"record": torch.tensor([[2.5], [1.0]]), "number": torch.tensor([[70.0], [20.0]])}
    names = ["ann", "ben"]
    samples = Samples(job, columns, patients=names, keys=names, spacings=[None, None])
    seen, target = torch.tensor([[1.0], [-2.0]]), torch.tensor([1.0, -1.5])
    with torch.no_grad():
        errors = 2 * (build_model(job, seed=1)(seen)[:, 0] - target)  # the loss by the output
    total = torch.zeros(2)
    for error, inputs in zip(errors, seen[:, 0], strict=True):
        norm = abs(float(error)) * math.sqrt(1 + float(inputs) ** 2)
        total += error * torch.tensor([inputs, 1.0]) * min(1.0, bound / norm)
    torch.testing.assert_close(train(job, samples), -total / 2, rtol=1e-4, atol=1e-6)
