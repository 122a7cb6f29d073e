"""A federation that learns to detect, on hospitals that it makes itself."""

from pathlib import Path
from typing import Any

import pytest

from server.runs.folder import RunFolder
from simulate.data.phantom import PHANTOMS, make_phantom
from simulate.session.judging import LEAST_PATIENTS
from tests.jobs import job_text

NODULES: dict[str, Any] = {
    "task_name": "detection",
    "task_classes": ["nodule", "cavity"],
    "job_dataset": "phantom-nodules",
    "job_rounds": 4,
    "model_channels": [8, 16, 32],
    "data_size": [64, 64],
    "data_augment": ["flip"],
    "training_local_epochs": 2,
    "training_batch_size": 8,
    "training_learning_rate": 0.005,
    "training_schedule": "cosine",
}


def figures_of(cli: Any, folder: Path, **options: Any) -> dict[str, float]:
    """Simulate a federation, and return what its model reaches on the test patients."""
    (folder / "job.toml").write_text(job_text(**NODULES | options))
    said = cli("simulate", folder / "job.toml", "--workers", "in-process", "--out", folder / "runs")
    assert said.code == 0, said.err
    run = RunFolder.read(next((folder / "runs").glob("tiny-*")))
    about = run.read_description()
    figures: dict[str, float] = about["test"]["federation"]
    for name, one in about["comparison"]["metrics"].items():
        assert one["low"] < one["value"] < one["high"]
        assert one["value"] == pytest.approx(figures[name])
        assert one["constant"] == 0
    enough = about["comparison"]["patients"] >= LEAST_PATIENTS
    assert enough == (set(about["comparison"]["metrics"]) >= {"ap30", "sensitivity_1fp"})
    return figures


def test_hospitals_learn_to_find_nodules_and_cavities(cli: Any, tmp_path: Path) -> None:
    figures = figures_of(cli, tmp_path)
    assert figures["ap30"] > 0.4
    assert figures["sensitivity_1fp"] > 0.5
    assert figures["ap50"] <= figures["ap30"]


def test_volumes_are_learnt_too(cli: Any, tmp_path: Path) -> None:
    volumes = {
        "job_dataset": "phantom-nodules-3d",
        "data_size": [32, 32, 24],
        "data_dimensions": 3,
        "job_rounds": 5,
        "training_local_epochs": 3,
        "training_batch_size": 2,
    }
    assert figures_of(cli, tmp_path, **volumes)["ap30"] > 0.2


@pytest.mark.parametrize("name", sorted(name for name in PHANTOMS if "nodules" in name))
def test_a_check_finds_the_boxes_of_all_hospitals(cli: Any, tmp_path: Path, name: str) -> None:
    depth = {"data_size": [32, 32, 24], "data_dimensions": 3} if name.endswith("3d") else {}
    (tmp_path / "job.toml").write_text(job_text(**{**NODULES, "job_dataset": name, **depth}))
    said = cli("data", "check", make_phantom(name, tmp_path, 1).parent, "--job", tmp_path / "job.toml")
    assert said.code == 0, said.err
    assert "boxes in an image: 0 to 3" in said.out
    assert "none in" in said.out
    assert "nodule (" in said.out
    assert "cavity (" in said.out
