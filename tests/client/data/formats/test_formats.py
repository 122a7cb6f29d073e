"""Formats beside PNG, NIfTI and DICOM: the same numbers, sizes and places as their own libraries give."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from client.data.images.readers import read_image, read_mask
from shared.errors import DataError


def volume(shape: tuple[int, ...] = (4, 5, 6), dtype: type = np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1000, shape).astype(dtype)


@pytest.mark.parametrize("ending", ["mha", "mhd", "nrrd", "nhdr", "nii.gz"])
def test_a_volume_lies_where_itk_puts_it(tmp_path: Path, ending: str) -> None:
    image = sitk.GetImageFromArray(volume())
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-10.0, 20.0, 30.0))
    image.SetDirection(tuple(np.array([[0, -1, 0], [1, 0, 0], [0, 0, -1]], float).ravel()))
    path = tmp_path / f"v.{ending}"
    sitk.WriteImage(image, str(path))
    picture = read_image(path, 3)
    assert picture.affine is not None
    for index in ((0, 0, 0), (5, 4, 3), (2, 1, 3)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        ras = np.append(lps * (-1, -1, 1), 1)
        square = np.vstack([picture.affine, [0, 0, 0, 1]])
        here = tuple(np.rint(np.linalg.inv(square) @ ras)[:3].astype(int))
        assert picture.array[0][here] == image.GetPixel(index)


def test_a_tiff_keeps_sixteen_bits_of_colour_and_ome_says_the_size_of_a_pixel(tmp_path: Path) -> None:
    colour = volume((6, 4, 3), np.uint16) * 60
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / "c.tiff"))
    np.testing.assert_array_equal(read_image(tmp_path / "c.tiff", 2).array, np.moveaxis(colour, -1, 0))
    assert read_image(tmp_path / "c.tiff", 2).spacing is None


def test_a_deep_png_keeps_its_bits(tmp_path: Path) -> None:
    colour = volume((6, 4, 3), np.uint16) * 60
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / "c.png"))
    np.testing.assert_array_equal(read_image(tmp_path / "c.png", 2).array, np.moveaxis(colour, -1, 0))


def test_a_stack_of_pages_is_a_volume(tmp_path: Path) -> None:
    pages = volume((3, 5, 4), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(pages), str(tmp_path / "s.tif"))
    np.testing.assert_array_equal(read_image(tmp_path / "s.tif", 3).array[0], pages.transpose(2, 1, 0))


def test_arrays_are_pictures_or_volumes_as_the_job_says(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", volume((6, 5, 3)))
    assert read_image(tmp_path / "a.npy", 2).array.shape == (3, 6, 5)
    assert read_image(tmp_path / "a.npy", 3).array.shape == (1, 6, 5, 3)
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    with pytest.raises(DataError, match="not numbers"):
        read_image(tmp_path / "text.npy")


def test_what_would_lose_digits_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.ones((4, 4), np.complex64))
    with pytest.raises(DataError, match="complex"):
        read_image(tmp_path / "c.npy")
    np.save(tmp_path / "i.npy", np.full((4, 4), 2**24 + 1, np.int64))
    with pytest.raises(DataError, match="lose digits"):
        read_image(tmp_path / "i.npy")
    assert read_mask(_nifti(tmp_path / "m.nii", np.full((3, 3, 3), 1, np.int64)), 1, 3).all()


def _nifti(path: Path, array: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4), dtype=array.dtype), path)
    return path


def test_colour_and_complex_nifti_are_read_or_named(tmp_path: Path) -> None:
    rgb = np.zeros((4, 5, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    rgb["G"] = 7
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), tmp_path / "rgb.nii")
    assert read_image(tmp_path / "rgb.nii", 3).array[:, 0, 0, 0].tolist() == [0, 7, 0]
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.complex64), np.eye(4)), tmp_path / "z.nii")
    with pytest.raises(DataError, match="complex"):
        read_image(tmp_path / "z.nii", 3)


def test_headers_that_name_two_ways_are_noted(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(volume(), np.eye(4))
    image.set_sform(np.diag([-1.0, 1, 1, 1]), 1)
    image.set_qform(np.eye(4), 1)
    nibabel.save(image, tmp_path / "v.nii")
    assert "LAS" in read_image(tmp_path / "v.nii", 3).notes[0]


def test_axes_of_length_one_are_no_channels(tmp_path: Path) -> None:
    vectors = np.stack([volume(), volume() + 1, volume() + 2], axis=-1)
    for name, array in (("a", vectors[:, :, :, None]), ("b", vectors[..., None]), ("c", vectors)):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
        np.testing.assert_array_equal(
            read_image(tmp_path / f"{name}.nii.gz").array, np.moveaxis(vectors, -1, 0)
        )
    nibabel.save(nibabel.Nifti1Image(volume()[..., None, None, None], np.eye(4)), tmp_path / "d.nii")
    assert read_image(tmp_path / "d.nii").array.shape == (1, 4, 5, 6)
    nibabel.save(nibabel.Nifti1Image(np.stack([vectors, vectors], axis=3), np.eye(4)), tmp_path / "e.nii")
    with pytest.raises(DataError, match="5 dimensions"):
        read_image(tmp_path / "e.nii")


def test_an_opaque_channel_of_nifti_is_no_colour(tmp_path: Path) -> None:
    pixels = np.zeros((4, 5, 6), [(name, "u1") for name in "RGBA"])
    pixels["R"], pixels["A"] = volume() % 255, 255
    nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), tmp_path / "x.nii")
    found = read_image(tmp_path / "x.nii").array
    assert len(found) == 3
    np.testing.assert_array_equal(found[0], volume() % 255)
    pixels["A"][1, 1, 1] = 0
    nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), tmp_path / "x.nii")
    with pytest.raises(DataError, match="transparent in places"):
        read_image(tmp_path / "x.nii")
