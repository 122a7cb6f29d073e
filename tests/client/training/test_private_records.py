"""Private training on an image beside a record: gradients are known, also where a row lacks one of them."""

from typing import Any

import numpy as np
import pytest
import torch

from client.data.samples.batches import Samples
from client.training.clipping import PerSampleSum
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from tests.client.training.test_private_training import private_job, train
from tests.shared.tasks.test_records import BOTH, rows

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")


@pytest.mark.parametrize("kind", ["concat", "film", "gated"])
def test_the_update_is_the_mean_of_clipped_gradients(
    tiny_job: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = 0.05
    networks = {**BOTH["model"], "fusion": {"name": kind, "hidden": [4]}}
    options = {**BOTH, "model": networks, "model_norm": None, "privacy_max_grad_norm": bound}
    job = private_job(tiny_job, "classification", **options)
    batch = rows()
    names = list(batch.patients)
    samples = Samples(job, batch.values, patients=names, keys=names, spacings=[None] * 3)
    task, model = make_task(job), build_model(job, seed=1)
    expected = torch.zeros(())
    for index in range(3):
        alone = task.prepare(samples.batch(np.array([index])), 0)
        model.zero_grad()
        task.phases()[0].loss(models_of(model), alone).sum().backward()
        gradient = torch.cat([value.grad.flatten() for value in model.parameters()])
        assert gradient.norm() > bound
        expected = expected - gradient * bound / gradient.norm() / 3
    monkeypatch.setattr(PerSampleSum, "_add_singly", None)  # hooks have the gradients, of the tokens too
    torch.testing.assert_close(train(job, samples), expected, rtol=1e-3, atol=1e-5)
