"""Displacements between two files: where a pixel of one belongs in the other, by their own places."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from client.data.kinds import kinds_of
from client.data.manifest.rows import Record
from client.predict.displacements import field_file
from client.predict.geometry import Placed, place
from shared.tasks.answers import Answer, FoundField
from tests.jobs import make_job

STORED = {  # how a file's axes run, as NIfTI's affine has it
    "upright": np.diag([2.0, 2.0, 3.0, 1.0]),
    "turned": np.array([[0, 0, -3.0, 40], [2.0, 0, 0, -7], [0, -2.0, 0, 30], [0, 0, 0, 1]]),
}


def volumes(folder: Path, first: str, second: str, shape: tuple[int, ...]) -> dict[str, Path]:
    """Write two volumes of noise; the second lies 5 mm further to the right."""
    generator = np.random.default_rng(0)
    found = {}
    for name, kind, shift in (("fixed", first, 0.0), ("moving", second, 5.0)):
        affine = STORED[kind].copy()
        affine[0, 3] += shift
        found[name] = folder / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(generator.random(shape, np.float32), affine), found[name])
    return found


def placed_on(files: dict[str, Path], values: torch.Tensor, size: list[int]) -> Placed:
    job = make_job(
        task_name="registration",
        task_pairs="rows",
        data_size=size,
        data_dimensions=len(size),
        data_augment=None,
    )
    cells = {"image": files["fixed"].name, "moving": files["moving"].name}
    record = Record(1, "p", (files["fixed"],), cells=cells, folder=files["fixed"].parent)
    found = place(record, kinds_of(job), job.data, Answer({}, displacement=FoundField(values, "moving")))
    assert found is not None
    return found


@pytest.mark.parametrize("first", STORED)
@pytest.mark.parametrize("second", STORED)
def test_a_pixel_and_its_displacement_are_the_place_in_the_other_file(
    tmp_path: Path, first: str, second: str
) -> None:
    """Both are read upright; the grid has other sizes than the files; the field is two pixels."""
    files, size = volumes(tmp_path, first, second, (12, 16, 10)), [16, 16, 16]
    values = torch.zeros(3, *size)
    values[1] = 2.0
    placed = placed_on(files, values, size)
    assert placed.displacement is not None
    (tmp_path / "field.nii").write_bytes(gzip.decompress(field_file(placed.displacement, placed.picture)))
    field, fixed, moving = (nibabel.load(path) for path in (tmp_path / "field.nii", *files.values()))
    assert field.shape == (*fixed.shape, 1, 3)
    assert int(field.header["intent_code"]) == 1006
    np.testing.assert_allclose(field.affine, fixed.affine, atol=1e-5)
    vectors = np.asarray(field.dataobj)[:, :, :, 0]
    ends = [nibabel.as_closest_canonical(image) for image in (fixed, moving)]
    for index in np.ndindex(3, 3, 3):
        voxel = np.array(index) * 3
        here = fixed.affine @ [*voxel, 1]
        share = (np.linalg.inv(ends[0].affine) @ here)[:3] + 0.5  # from the edge, in the upright array
        share = share / ends[0].shape + np.array([0, 2 / 16, 0])
        there = ends[1].affine @ [*(share * ends[1].shape - 0.5), 1]
        np.testing.assert_allclose(here[:3] + vectors[tuple(voxel)], there[:3], atol=1e-3)


def test_of_pictures_a_displacement_is_in_their_own_pixels(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.png" for name in ("fixed", "moving")}
    for path in files.values():
        Image.fromarray(np.random.default_rng(1).integers(0, 255, (32, 24), np.uint8)).save(path)
    values = torch.zeros(2, 16, 16)
    values[0] = 1.0
    placed = placed_on(files, values, [16, 16])
    assert placed.displacement is not None
    assert not placed.displacement.in_space
    np.testing.assert_allclose(placed.displacement.vectors[0], 2.0, atol=1e-4)
    np.testing.assert_allclose(placed.displacement.vectors[1], 0.0, atol=1e-4)
    field = nibabel.Nifti1Image.from_bytes(gzip.decompress(field_file(placed.displacement, placed.picture)))
    assert field.shape[-2:] == (1, 2)
