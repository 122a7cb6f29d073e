"""Private training to reconstruct: each image's gradient is known and clipped, over all its steps."""

from typing import Any

import pytest
import torch

from shared.errors import JobError
from tests.client.training.test_private_restoration import gradient, step
from tests.client.training.test_private_training import private_job

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")

MEASUREMENTS = {
    "one coil": {"kind": "cartesian", "centre": 0.1},
    "coils": {"kind": "cartesian", "centre": 0.2, "coils": 3},
    "rays": {"kind": "parallel-beam", "angles": 12, "photons": 1000.0},
    "pet": {"kind": "pet", "counts": 5000.0},
}


CASCADE = {
    "task_method": "cascade",
    "task_steps": None,
    "model": {"name": "cnn-cascade", "stages": 2, "features": 4, "layers": 3},
}


@pytest.mark.parametrize(
    ("measured", "network"), [*((name, {}) for name in MEASUREMENTS), ("coils", CASCADE), ("rays", CASCADE)]
)
def test_two_images_move_a_network_by_their_own_clipped_gradients(
    tiny_job: Any, measured: str, network: dict[str, Any]
) -> None:
    """The bound lies between the norms of their gradients, each over all uses of the network."""
    options = {
        **network,
        "task_measurement": MEASUREMENTS[measured],
        "task_memory": 2,
        "task_loss": "l2",
        "data_intensity": "window",
        "data_window": [0.0, 255.0],
    }
    job = private_job(tiny_job, "reconstruction", **options)
    _, batch = step(job)
    gradients = [gradient(job, batch.chosen([place])) for place in (0, 1)]
    norms = [float(own.norm()) for own in gradients]
    middle = sum(norms) / 2
    assert min(norms) < middle < max(norms)
    moved, again = step(private_job(tiny_job, "reconstruction", privacy_max_grad_norm=middle, **options))
    assert torch.equal(again["direct"], batch["direct"])
    expected = -sum(own * min(1.0, middle / norm) for own, norm in zip(gradients, norms, strict=True)) / 2
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-5 * middle)


def test_weights_that_lie_in_no_layer_are_refused(tiny_job: Any) -> None:
    options = {
        "task_method": "variational",
        "task_steps": None,
        "task_measurement": MEASUREMENTS["coils"],
        "model": {"name": "varnet"},
        "data_size": [32, 32],
    }
    with pytest.raises(JobError, match="lie in no layer"):
        private_job(tiny_job, "reconstruction", **options)
