"""An image beside a record, from end to end, where some rows lack the image and others the record."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli import wardround
from tests.every_task import write_for_every_task
from tests.jobs import job_text

OPTIONS: dict[str, Any] = {
    "task_name": "classification",
    "task_columns": ["age", "grade"],
    "task_missing_images": True,
    "task_features": 8,
    "job_rounds": 1,
    "model": {
        "image": {"name": "cnn", "channels": [4, 8], "norm": "group"},
        "record": {"name": "mlp", "hidden": [4]},
        "fusion": {"name": "film", "drop_input": 0.2},
    },
    "data_augment": ["flip", "rotate", "gamma", "noise"],
}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a job, and data of which every fifth row lacks the image, others the record."""
    made = tmp_path_factory.mktemp("records")
    manifest = write_for_every_task(made / "data", patients=9)
    own = rows(manifest)
    for number, row in enumerate(own):
        if number % 5 == 0:
            row["image"] = ""
        elif number % 7 == 0:
            row["age"] = row["grade"] = ""
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, own[0].keys())
        writer.writeheader()
        writer.writerows(own)
    (made / "job.toml").write_text(job_text(**OPTIONS))
    return made


def test_checks_say_what_rows_lack(folder: Path) -> None:
    said = wardround("data", "check", folder / "data", "--job", folder / "job.toml")
    assert said.returncode == 0, said.stdout + said.stderr
    lacking = sum(not row["image"] for row in rows(folder / "data/manifest.csv"))
    assert f"{lacking} rows without an image" in said.stdout
    assert "missing in" in said.stdout


def test_rows_that_lack_one_are_trained_on_judged_and_predicted(folder: Path) -> None:
    said = wardround("simulate", "job.toml", "--data", "data", "--workers", "in-process", cwd=folder)
    assert said.returncode == 0, said.stderr
    [run] = (folder / "runs").iterdir()
    about = json.loads((run / "run.json").read_text())
    known = rows(folder / "data/manifest.csv")
    tested = {row["patient"] for row in known if row["split"] == "test"}
    assert about["comparison"]["patients"] == len(tested)
    assert about["comparison"]["metrics"]["accuracy"]["value"] >= 0
    said = wardround("predict", run, "--data", folder / "data", "--out", folder / "said")
    assert said.returncode == 0, said.stdout + said.stderr
    found = rows(folder / "said/predictions.csv")
    assert [row["true"] for row in found] == [row["label"] for row in known]
    assert all(float(row["score/large"]) >= 0 for row in found)
    assert [bool(row["overlay"]) for row in found] == [bool(row["image"]) for row in known]


def test_a_job_that_takes_no_such_rows_names_them(folder: Path) -> None:
    (folder / "strict.toml").write_text(job_text(**{**OPTIONS, "task_missing_images": False}))
    said = wardround("data", "check", folder / "data", "--job", folder / "strict.toml")
    assert said.returncode == 2
    assert "the image is empty" in said.stdout + said.stderr
