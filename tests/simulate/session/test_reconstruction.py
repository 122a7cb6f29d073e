"""A federation learns to reconstruct, from images and from k-space, and is given what scanners measured."""

import csv
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from simulate.data.phantom import write_phantom
from tests.cli import wardround
from tests.conftest import write_dataset
from tests.jobs import make_job
from tests.simulate.session.test_generation import run_of
from tests.simulate.session.test_restoration import SECURE, gains

LEARNS: dict[str, Any] = {
    "task_name": "reconstruction",
    "task_loss": "l2",
    "model_channels": [8, 16],
    "job_rounds": 3,
    "training_local_epochs": None,
    "training_local_steps": 20,
    "training_batch_size": 4,
}
COILS = {"kind": "cartesian", "acceleration": 3.0, "centre": 0.125, "coils": 4}
OF_KSPACE = {
    "task_measurement": COILS,
    "task_kspace": "kspace",
    "data": {"size": [32, 32]},
    "training_local_steps": 6,
}


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the manifest of four hospitals with bright discs on grey."""
    return write_dataset(tmp_path_factory.mktemp("discs") / "data", patients=24)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the manifest of hospitals with k-space."""
    return write_phantom("phantom-kspace", tmp_path_factory.mktemp("scans") / "data", 1)


@pytest.fixture(scope="module")
def of_scans(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(make_job(**LEARNS | OF_KSPACE), scans, tmp_path_factory.mktemp("runs"))


def test_a_federation_learns_to_reconstruct_behind_masks(discs: Path, tmp_path: Path) -> None:
    found = gains(run_of(make_job(**LEARNS | SECURE), discs, tmp_path))
    assert found[-1] > found[0]
    assert found[-1] > 1  # dB


def test_a_federation_learns_from_kspace(of_scans: Path) -> None:
    found = gains(of_scans)
    assert found[-1] > max(found[0], 0.3)
    report = (of_scans / "report.html").read_text(encoding="utf-8")
    assert report.count(" before") >= 3  # under the best, the median and the worst image


def predicted(run: Path, data: Path, out: Path, code: int = 0) -> list[dict[str, str]]:
    said = wardround("predict", run, "--data", data, "--out", out)
    assert said.returncode == code, said.stderr
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_images_are_made_of_files_of_kspace(of_scans: Path, scans: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    [first, *_] = sorted((scans.parent / "kspace" / "north").glob("*.npy"))
    some = np.load(first)
    some[:, :, np.arange(64) % 2 == 1] *= (np.abs(np.arange(64) - 32) < 6)[np.arange(64) % 2 == 1]
    np.save(folder / "some.npy", some)
    np.save(folder / "whole.npy", np.load(first))
    rows = predicted(of_scans, folder, tmp_path / "out")
    assert [row["patient"] for row in rows] == ["some", "whole"]
    files = {row["patient"]: tmp_path / "out" / row["reconstructed"] for row in rows}
    made = {name: np.asarray(nibabel.load(file).dataobj) for name, file in files.items()}
    assert made["whole"].shape == (32, 32, 1)
    assert float(rows[1]["mean_change"]) < 1e-3  # nothing is filled in where all was measured
    assert float(rows[0]["mean_change"]) > 0.002
    assert np.corrcoef(made["whole"].ravel(), made["some"].ravel())[0, 1] > 0.8
    with Image.open(tmp_path / "out" / rows[0]["overlay"]) as overlay:
        assert overlay.width > 1.9 * overlay.height  # zero-filled, and reconstructed beside it


def test_a_model_of_images_is_given_what_was_measured(discs: Path, tmp_path: Path) -> None:
    """It was trained on sinograms that the site made; here comes one, and an image is no answer."""
    beam = {"kind": "parallel-beam", "angles": 20}
    run = run_of(make_job(**LEARNS | {"task_measurement": beam, "job_rounds": 1}), discs, tmp_path)
    folder = tmp_path / "rays"
    folder.mkdir()
    np.save(folder / "a.npy", np.full((20, 23), 4.0))
    np.save(folder / "b.npy", np.full((21, 23), 4.0))
    rows = predicted(run, folder, tmp_path / "out", code=2)
    assert rows[0]["reconstructed"].endswith(".nii.gz")
    assert "20 angles of 23 rays" in rows[1]["problem"]
    said = wardround("predict", run, "--data", discs, "--out", tmp_path / "no")
    assert said.returncode == 2
    assert "rays" in said.stderr


def test_a_check_says_coils_matrix_and_sampling(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(
        '[job]\nname = "a"\ndataset = "a"\nrounds = 1\n[task]\nname = "reconstruction"\nkspace = "kspace"\n'
        'measurement = { kind = "cartesian", coils = 4 }\n[model]\nname = "unet"\n[data]\nsize = [64, 64]\n'
        '[training]\nlocal_epochs = 1\n[strategy]\nname = "fedavg"\n'
    )
    said = wardround("data", "check", scans.parent, "--job", tmp_path / "job.toml")
    assert said.returncode == 0, said.stderr + said.stdout
    for line in ("coils: 4", "matrix, axis 1: 64", "share of k-space that was measured: 1"):
        assert line in said.stdout
