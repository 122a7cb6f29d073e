"""A hospital or a patient that withdraws: the run is as if they had never been there."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from simulate.forgetting.grids import Kept
from tests.cli import wardround
from tests.conftest import write_dataset
from tests.jobs import job_text

SITES = ("alpha", "beta", "gamma")


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: Any) -> Path:
    """Return the manifest of three hospitals with 30 patients each."""
    return write_dataset(tmp_path_factory.mktemp("hospitals") / "data", SITES, patients=30, side=8)


def fewer(hospitals: Path, folder: Path, site: str, patient: str | None = None) -> Path:
    """Write the manifest without a site, or without a patient of it."""
    with hospitals.open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["site"] != site or (patient is not None and row["patient"] != patient)
        ]
    for row in rows:
        row |= {key: str(hospitals.parent / row[key]) for key in ("image", "mask")}
    folder.mkdir()
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


def simulated(data: Path, folder: Path) -> Path:
    """Return the run of a simulation below a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "tiny.toml").write_text(job_text(strategy_min_sites=2, data_size=[8, 8], job_rounds=2))
    said = wardround("simulate", "tiny.toml", "--data", data, "--workers", "in-process", cwd=folder)
    assert said.returncode == 0, said.stderr
    [run] = (folder / "runs").iterdir()
    return run


@pytest.fixture(scope="module")
def finished(hospitals: Path, tmp_path_factory: Any) -> Path:
    """Return the run of all three."""
    return simulated(hospitals, tmp_path_factory.mktemp("finished"))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of it, to which others come."""
    return shutil.copytree(finished, tmp_path / "runs" / finished.name)


def vector(run: Path) -> np.ndarray:
    return np.concatenate(
        [tensor.ravel() for _, tensor in sorted(load_file(run / "model.safetensors").items())]
    )


def test_a_hospital_is_forgotten_to_the_bit_and_approximately(
    cli: Any, run: Path, hospitals: Path, tmp_path: Path
) -> None:
    said = cli("forget", run, "--site", "beta", "--shadows", 4, "--workers", "in-process", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    exact, approximate = (Path(found["runs"][name]) for name in ("exact", "FedEraser"))
    never = simulated(fewer(hospitals, tmp_path / "two", "beta"), tmp_path / "never")
    np.testing.assert_array_equal(vector(exact), vector(never))
    apart = np.linalg.norm(vector(approximate) - vector(exact))
    assert 0 < apart < np.linalg.norm(vector(run) - vector(exact))
    assert set(found["attacks"]) == {"as it was", "exact", "FedEraser"}
    for audit in found["attacks"].values():
        assert (audit["members"], audit["others"], audit["shadows"]) == (10, 20, 4)
    assert "beta" not in json.loads((approximate / "run.json").read_text())["sites"]
    assert "Without beta" in (exact / "forgetting.html").read_text()


def test_a_patient_is_forgotten_to_the_bit(cli: Any, run: Path, hospitals: Path, tmp_path: Path) -> None:
    said = cli("forget", run, "--site", "beta", "--patient", "beta-0", "--workers", "in-process", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert "forgets whole hospitals" in found["notes"][0]
    assert found["attacks"] == {}
    never = simulated(fewer(hospitals, tmp_path / "less", "beta", "beta-0"), tmp_path / "never")
    np.testing.assert_array_equal(vector(Path(found["runs"]["exact"])), vector(never))
    assert not np.array_equal(vector(never), vector(run))
    there = sorted(run.parent.iterdir())
    refused = cli("forget", run, "--site", "beta", "--patient", "nobody", "--workers", "in-process")
    assert refused.code == 2
    assert sorted(run.parent.iterdir()) == there
    assert "has no patient 'nobody'" in refused.err
    refused = cli("forget", run, "--site", "bet", "--workers", "in-process")
    assert refused.code == 2
    assert "did you mean 'beta'" in refused.err


def test_an_update_keeps_its_direction_and_gets_its_old_length() -> None:
    kept = Kept(parameters=2)
    start = np.zeros(3, np.float32)
    kept.note(1, "a", start, np.array([1, 1, 5], np.float32))
    kept.note(2, "a", start, np.array([3, 4, 7], np.float32))
    assert kept.calibrated(1, "a", start, np.ones(3, np.float32)).tolist() == [1, 1, 5]  # as it was
    again = kept.calibrated(2, "a", start, np.array([0, 2, 9], np.float32))
    assert again.tolist() == [0, 5, 9]  # the third is no parameter
    assert kept.calibrated(3, "a", start, np.array([0, 2, 9], np.float32)).tolist() == [0, 2, 9]
    assert kept.calibrated(2, "a", start, start).tolist() == [0, 0, 0]
