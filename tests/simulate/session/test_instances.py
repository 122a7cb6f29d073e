"""A federation that learns to tell cells apart, on hospitals that it makes itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.runs.folder import RunFolder
from simulate.data.phantom import make_phantom
from tests.jobs import job_text

CELLS: dict[str, Any] = {
    "task_name": "instances",
    "task_classes": ["cell"],
    "job_dataset": "phantom-cells",
    "job_rounds": 5,
    "model_channels": [8, 16, 32],
    "data_size": [96, 96],
    "data_augment": ["flip"],
    "data_intensity": "zscore",
    "training_local_epochs": 2,
    "training_batch_size": 4,
    "training_optimizer": "sgd",
    "training_learning_rate": 0.1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom("phantom-cells", tmp_path_factory.mktemp("cells"), 1).parent


def simulated(cli: Any, folder: Path, data: Path, **options: Any) -> RunFolder:
    folder.mkdir(exist_ok=True)
    (folder / "job.toml").write_text(job_text(**CELLS | options))
    said = cli(
        *("simulate", folder / "job.toml", "--data", data),
        *("--workers", "in-process", "--out", folder / "runs"),
    )
    assert said.code == 0, said.err
    return RunFolder.read(next((folder / "runs").glob("tiny-*")))


def test_cells_that_touch_are_told_apart_better_than_by_connected_pieces(
    cli: Any, tmp_path: Path, data: Path
) -> None:
    runs = {
        apart: simulated(cli, tmp_path / apart, data, task_apart=apart) for apart in ("depth", "components")
    }
    about = {apart: run.read_description() for apart, run in runs.items()}
    quality = {apart: one["test"]["federation"]["pq"] for apart, one in about.items()}
    assert quality["depth"] > quality["components"] + 0.1
    assert quality["depth"] > 0.3
    compared = about["depth"]["comparison"]["metrics"]["pq"]
    assert compared["low"] < compared["value"] < compared["high"]
    assert compared["value"] == pytest.approx(quality["depth"])
    shown = json.loads((runs["depth"].path / "rehearsal/examples.json").read_text())
    assert "found" in json.dumps(shown)


def test_a_check_counts_the_cells_of_all_hospitals(cli: Any, tmp_path: Path, data: Path) -> None:
    (tmp_path / "job.toml").write_text(job_text(**CELLS))
    said = cli("data", "check", data, "--job", tmp_path / "job.toml")
    assert said.code == 0, said.err
    assert "instances in an image: " in said.out
    assert "cell (" in said.out
    assert "is each object numbered?" not in said.out
    said = cli("data", "check", data)
    assert "look like maps of instances" in said.out + said.err
