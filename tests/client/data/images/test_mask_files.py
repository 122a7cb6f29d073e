"""Masks in several files: one structure each, in the order of the job's classes."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from client.cli.data import data_app
from client.data.cache.settings import CacheTable
from client.data.manifest.rows import scan_manifest
from client.data.manifest.splits import CohortKey, Split
from client.data.samples.site_data import SiteData
from shared.errors import DataError
from simulate.data.partition import write_site_manifests
from tests.jobs import job_text, make_job

SHAPE = (6, 5, 4)


def options(*classes: str) -> dict[str, Any]:
    return {"task_classes": list(classes), "data_dimensions": 3, "data_size": list(SHAPE), "data_augment": []}


def structure(path: Path, *corner: slice, flipped: bool = False) -> None:
    """Write a structure; `flipped` stores its first axis the other way round, as its header says."""
    values = np.zeros(SHAPE, np.uint8)
    values[corner] = 1
    affine = np.eye(4)
    if flipped:
        values, affine[0, 0], affine[0, 3] = values[::-1], -1, SHAPE[0] - 1
    nibabel.Nifti1Image(values, affine).to_filename(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ramp = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    nibabel.Nifti1Image(ramp, np.eye(4)).to_filename(tmp_path / "image.nii.gz")
    structure(tmp_path / "liver.nii.gz", slice(0, 2))
    structure(tmp_path / "spleen.nii.gz", slice(4, 6), flipped=True)
    structure(tmp_path / "over.nii.gz", slice(1, 3), slice(0, 1), slice(0, 1))
    return tmp_path


def manifest(folder: Path, cell: str) -> Path:
    (folder / "manifest.csv").write_text(f"patient,image,mask,split\np,image.nii.gz,{cell},train\n")
    return folder / "manifest.csv"


def target(folder: Path, cell: str, *classes: str, cache: CacheTable | None = None) -> np.ndarray:
    split = Split(CohortKey.drawn(1))
    data = SiteData.load(
        manifest(folder, cell), make_job(**options(*classes)), site="a", split=split, cache=cache
    )
    return data.split("train").columns["mask"][0].numpy()


def test_each_file_is_the_class_at_its_place_and_turned_by_its_own_header(folder: Path) -> None:
    found = target(folder, "liver.nii.gz|spleen.nii.gz", "liver", "spleen")
    assert (found[0:2] == 1).all()
    assert (found[2:4] == 0).all()
    assert (found[4:6] == 2).all()
    turned = target(folder, "spleen.nii.gz | liver.nii.gz", "spleen", "liver")
    assert ((turned == 1) == (found == 2)).all()
    assert ((turned == 2) == (found == 1)).all()


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("liver.nii.gz|over.nii.gz", "overlaps liver.nii.gz in 1 voxel"),
        ("liver.nii.gz", None),
        ("liver.nii.gz|spleen.nii.gz|over.nii.gz", "one of 3 files, but the job has 2 classes"),
        ("liver.nii.gz||spleen.nii.gz", "lacks a file"),
        ("liver.nii.gz|none.nii.gz", "missing"),
        ("liver.nii.gz|image.nii.gz", "the image itself"),
    ],
)
def test_what_is_not_one_structure_a_class_is_refused_in_training_and_in_the_check(
    folder: Path, cell: str, said: str | None
) -> None:
    job = folder / "job.toml"
    job.write_text(job_text(**options("liver", "spleen")))
    checked = CliRunner().invoke(data_app, ["check", str(manifest(folder, cell)), "--job", str(job)])
    if said is None:
        assert (target(folder, cell, "liver", "spleen") <= 1).all()  # one file is a map of labels
        assert checked.exit_code == 0
        return
    with pytest.raises(DataError, match=said):
        target(folder, cell, "liver", "spleen")
    assert checked.exit_code == 2
    assert said in checked.stdout


def test_another_order_is_no_hit_in_the_cache(folder: Path) -> None:
    cache = CacheTable(folder=folder / "cache")
    one = target(folder, "liver.nii.gz|spleen.nii.gz", "a", "b", cache=cache)
    other = target(folder, "spleen.nii.gz|liver.nii.gz", "a", "b", cache=cache)
    assert (one[0] == 1).all()
    assert (other[0] == 2).all()


def test_a_file_with_a_bar_in_its_name_is_one_file(folder: Path) -> None:
    structure(folder / "a|b.nii.gz", slice(0, 1))
    record = scan_manifest(manifest(folder, "a|b.nii.gz"), needs=("mask",)).records[0]
    assert record.mask == folder / "a|b.nii.gz"


def test_a_dataset_that_a_simulation_cuts_keeps_all_files_of_a_mask(folder: Path) -> None:
    path = manifest(folder, "liver.nii.gz|spleen.nii.gz")
    cut = write_site_manifests(path, {"north": [0]}, folder / "sites")["north"]
    found = scan_manifest(cut, needs=("mask",)).records[0].mask
    assert found == (folder / "liver.nii.gz", folder / "spleen.nii.gz")
