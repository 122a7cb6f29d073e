"""A whole run of patients with several views, some of which are lacking."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.jobs import job_text

VIEWS = ["cc", "mlo", "third"]
OPTIONS: dict[str, Any] = {
    "task_name": "classification",
    "task_classes": ["no mass", "mass"],
    "task_stack": {"kind": "views", "views": VIEWS, "features": 4},
    "model": {"encoder": {"name": "cnn", "channels": [4]}, "aggregator": {"name": "joined-views"}},
    "data": {"size": [8, 8], "intensity": "window", "window": [0.0, 255.0], "augment": ["flip", "noise"]},
}


def write_hospitals(folder: Path) -> Path:
    """Write views of four patients at each of three hospitals, some of them lacking; return the manifest."""
    rng, lines = np.random.default_rng(0), [f"site,patient,split,label,{','.join(VIEWS)}"]
    for site in "abc":
        for number in range(4):
            names = [f"{site}{number}-{view}.png" for view in VIEWS]
            for name in names:
                Image.fromarray(rng.integers(0, 255, (8, 8)).astype(np.uint8)).save(folder / name)
            names[number % 3] = ""
            split, label = ("train", "test")[number == 3], ("no mass", "mass")[number % 2]
            lines.append(f"{site},{site}{number},{split},{label},{','.join(names)}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_federation_learns_from_views_some_of_which_are_lacking(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data, job = write_hospitals(tmp_path / "data"), tmp_path / "job.toml"
    job.write_text(job_text(**OPTIONS | {"job_rounds": 1, "training_batch_size": 4}))
    said = cli("simulate", job, "--data", data, "--workers", "in-process", "--out", tmp_path / "runs")
    assert said.code == 0, said.err
    said = cli("predict", next((tmp_path / "runs").glob("tiny-*")), "--data", data, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == 13
    said = cli("data", "check", data, "--job", job)
    assert said.code == 0, said.err
    assert "mlo" in said.out
    said = cli("data", "look", data, "--job", job, "--out", tmp_path / "look")
    assert said.code == 0, said.err
