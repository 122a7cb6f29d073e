"""Private learning from images alone: each patient's gradient is clipped by itself."""

from typing import Any

import pytest
import torch

from client.data.samples.batches import Samples
from tests.client.training.test_private_training import private_job, samples_for, train
from tests.shared.tasks.test_pretraining import AUTOENCODER, BELIEF

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")


ONE_LAYER = {**BELIEF, "model": {"name": "belief-network", "hidden": [12]}}


@pytest.mark.parametrize("options", [{}, AUTOENCODER, ONE_LAYER])
@pytest.mark.parametrize("bound", [0.05, 1000.0])
def test_a_step_is_the_mean_of_two_clipped_gradients(
    tiny_job: Any, bound: float, options: dict[str, Any]
) -> None:
    private = {"model_norm": None, "privacy_max_grad_norm": bound, "privacy_noise_multiplier": 1e-12}
    options = {name: value for name, value in options.items() if name != "task_name"}
    job = private_job(tiny_job, "pretraining", **private | options)
    both = samples_for(job, ["ann", "ben"])
    images, keys = both.columns["image"], both.keys
    whole = Samples(job, {"image": images}, patients=["ann", "ben"], keys=keys, spacings=[None, None])
    each = [
        Samples(job, {"image": images[n : n + 1]}, patients=[name], keys=[keys[n]], spacings=[None])
        for n, name in enumerate(("ann", "ben"))
    ]
    moved = [train(job, alone) for alone in each]
    assert all(0 < float(one.norm()) <= bound * 1.001 for one in moved)
    torch.testing.assert_close(train(job, whole), sum(moved) / 2, rtol=1e-3, atol=1e-5)
