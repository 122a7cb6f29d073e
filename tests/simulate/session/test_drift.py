"""A released model judged again: the same patients, then others whose images look different."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_dataset

SITES = ("alpha", "beta", "gamma")


@pytest.fixture
def released(cli: Any, tiny_job_file: Path, tmp_path: Path) -> Any:
    """Return the data, a run, the job that judges its model, and the same hospitals with another scanner."""
    data = write_dataset(tmp_path / "now", SITES, patients=18)
    later = tmp_path / "later"
    shutil.copytree(data.parent, later)
    for file in (later / "images").glob("[!m]*.png"):
        noise = np.random.default_rng(3).normal(0, 60, (16, 16))
        dull = 0.4 * np.asarray(Image.open(file), float) + noise + 60
        Image.fromarray(dull.clip(0, 255).astype(np.uint8)).save(file)
    run = simulated(cli, tiny_job_file, data, "--rounds", 3)
    said = cli("job", "judge", run, "--out", tmp_path / "again.toml")
    assert said.code == 0, said.err
    return data, run, tmp_path / "again.toml", later


def simulated(cli: Any, job: Path, data: Path, *options: object, command: str = "simulate") -> Path:
    said = cli(command, job, "--data", data, "--workers", "in-process", *options)
    assert said.code == 0, said.err
    return Path(said.run)


def test_it_ends_with_two_once_a_test_is_worse_than_the_first_interval(
    cli: Any, released: Any, tiny_job_file: Path
) -> None:
    data, run, job, later = released
    same = simulated(cli, job, data)
    said = cli("drift", run, same)
    assert said.code == 0, said.err
    assert "No later test is worse" in said.out
    described = [simulated(cli, tiny_job_file, place, command="describe") for place in (data, later)]
    other = simulated(cli, job, later)
    said = cli("drift", run, same, *described, other, "--json")
    assert said.code == 2
    found = json.loads(said.out)
    assert found["worse"][same.name] == []
    assert "dice_global" in found["worse"][other.name]
    assert "image: percentile 99" in found["changed"][described[1].name]
    assert "classes" not in found["changed"][described[1].name]
    page = Path(found["page"]).read_text()
    assert "worst hospital" in page
    assert "What of the data has changed" in page
    refused = cli("drift", run, described[0], simulated(cli, tiny_job_file, data, "--rounds", 1))
    assert refused.code == 2
    assert "does not judge the model" in refused.err
