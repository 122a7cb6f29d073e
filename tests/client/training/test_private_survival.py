"""Private training on a table: each patient's gradient is known and clipped, and nothing is counted."""

import math
from typing import Any

import pytest
import torch

from client.data.samples.batches import Samples
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from tests.client.training.test_private_training import private_job, train

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")
SCALING = {"age": [60.0, 10.0], "grade": [2.0, 0.5]}


def job_of(tiny_job: Any, **options: Any) -> JobSpec:
    given = {"model_norm": None, "data_augment": None, "task_scaling": SCALING, "task_intervals": [1.0, 3.0]}
    return private_job(tiny_job, "survival", **{**given, "model_hidden": [], **options})


def two_patients(job: JobSpec) -> Samples:
    """Return somebody with the event in the second interval, and somebody censored after the first."""
    columns = {
        "record": torch.tensor([[70.0, 2.5], [40.0, float("nan")]]),
        "event": torch.tensor([[2.0, 1.0], [1.5, 0.0]]),
    }
    patients = ["ann", "ben"]
    return Samples(job, columns, patients=patients, keys=patients, spacings=[None, None])


@pytest.mark.parametrize("bound", [0.3, 100.0])
def test_the_update_is_the_mean_of_two_clipped_gradients(tiny_job: Any, bound: float) -> None:
    job = job_of(tiny_job, privacy_max_grad_norm=bound)
    model = build_model(job, seed=1)
    seen = torch.tensor([[1.0, 1.0], [-2.0, 0.0]])  # by the job's own scaling; what is missing is 0
    with torch.no_grad():
        hazards = model(seen).sigmoid()
    survived, ended = torch.tensor([[1.0, 0], [1, 0]]), torch.tensor([[0.0, 1], [0, 0]])
    errors = survived * hazards - ended * (1 - hazards)  # the loss by the logits
    total = torch.zeros(6)
    for error, inputs in zip(errors, seen, strict=True):
        gradient = torch.cat([torch.outer(error, inputs).flatten(), error])
        norm = float(error.norm() * math.sqrt(1 + float(inputs.square().sum())))
        assert float(gradient.norm()) == pytest.approx(norm, rel=1e-5)
        total += gradient * min(1.0, bound / norm)
    torch.testing.assert_close(train(job, two_patients(job)), -total / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_scaling": None}, r"'dp-sgd' does not protect .* mean and spread.*give \[task\] scaling"),
        (
            {"task_intervals": None, "task_horizon": 5.0},
            r"'dp-sgd' does not protect .* in bins.*give \[task\] intervals in place of horizon",
        ),
        ({"task_loss": "cox", "task_intervals": None}, "compares the patients of a batch"),
    ],
)
def test_what_no_noise_protects_is_refused(tiny_job: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        job_of(tiny_job, **options)
