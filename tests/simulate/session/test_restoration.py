"""Images restored by a federation: it learns, behind masks too."""

import csv
from pathlib import Path

import pytest

from tests.conftest import write_dataset
from tests.jobs import make_job
from tests.simulate.session.test_generation import run_of

LEARNS = {
    "task_name": "restoration",
    "task_loss": "l2",
    "model_channels": [8, 16],
    "job_rounds": 3,
    "training_local_epochs": None,
    "training_local_steps": 20,
    "training_batch_size": 8,
}
SECURE = {"privacy_secure_aggregation": True, "strategy_weight": "equal"}


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the manifest of four hospitals with bright discs on grey."""
    return write_dataset(tmp_path_factory.mktemp("discs") / "data", patients=24)


def gains(run: Path) -> list[float]:
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row["psnr_gain"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("privacy", [{}, SECURE], ids=["plain", "masked"])
def test_a_federation_learns_to_restore(discs: Path, tmp_path: Path, privacy: dict[str, object]) -> None:
    found = gains(run_of(make_job(**LEARNS | privacy), discs, tmp_path))
    assert found[-1] > found[0]
    assert found[-1] > 2  # dB
