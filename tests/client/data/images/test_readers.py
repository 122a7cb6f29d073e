"""Every format in the same order of axes, and files that can't be read."""

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from client.data.images.readers import read_image, read_images, read_mask
from shared.errors import DataError

RAMP = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4)  # higher than wide: transposing it would show


def png(path: Path, array: NDArray[np.generic], mode: str | None = None) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


def dicom(
    path: Path, pixels: NDArray[np.uint16], z: float, number: int, series: str = "1.2.3", **more: object
) -> Path:
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SOPClassUID, item.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", generate_uid()
    item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID
    item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
    item.SeriesInstanceUID, item.InstanceNumber = series, number
    item.Rows, item.Columns = pixels.shape
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 12, 11, 0
    item.RescaleSlope, item.RescaleIntercept = 2, -1000
    item.PixelSpacing, item.SliceThickness = [0.5, 0.75], 3
    item.ImageOrientationPatient, item.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z]
    item.PixelData = pixels.astype("<u2").tobytes()
    for name, value in more.items():
        setattr(item, name, value)
    pydicom.dcmwrite(path, item, enforce_file_format=True)
    return path


def test_a_picture_has_its_rows_first(tmp_path: Path) -> None:
    picture = read_image(png(tmp_path / "a.png", RAMP))
    np.testing.assert_array_equal(picture.array, RAMP[None])
    assert picture.array.dtype == np.float32
    assert picture.spacing is None


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)]
)
def test_modes_become_one_or_three_channels(tmp_path: Path, mode: str, channels: int) -> None:
    assert read_image(png(tmp_path / "a.png", RAMP, mode)).array.shape == (channels, 6, 4)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    assert read_image(png(tmp_path / "a.png", RAMP.astype(np.uint16) * 1000)).array.max() == 23_000


def test_one_bit_masks_are_read_as_foreground(tmp_path: Path) -> None:
    path = png(tmp_path / "m.png", np.uint8([[0, 255], [255, 0]]), "1")
    np.testing.assert_array_equal(read_mask(path, 1), [[0, 1], [1, 0]])


def test_volumes_lie_the_same_way_whatever_way_they_were_stored(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    ras = nibabel.Nifti1Image(volume, np.diag([1.0, 2.0, 3.0, 1.0]))
    lps = nibabel.Nifti1Image(volume[::-1, ::-1], np.diag([-1.0, -2.0, 3.0, 1.0]))
    turned = nibabel.Nifti1Image(
        volume.transpose(2, 0, 1), np.array([[0, 1, 0, 0], [0, 0, 2, 0], [3, 0, 0, 0], [0, 0, 0, 1.0]])
    )
    for name, image in (("ras", ras), ("lps", lps), ("turned", turned)):
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
        picture = read_image(tmp_path / f"{name}.nii.gz", 3)
        np.testing.assert_array_equal(picture.array, volume[None])
        assert picture.spacing == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_a_flat_nifti_is_a_picture_as_radiologists_see_it(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x_y = np.arange(24, dtype=np.float32).reshape(4, 6)
    nibabel.save(nibabel.Nifti1Image(x_y.reshape(shape), np.diag([1.0, 2.0, 1.0, 1.0])), tmp_path / "a.nii")
    picture = read_image(tmp_path / "a.nii", 2)
    np.testing.assert_array_equal(
        picture.array[0], x_y[::-1, ::-1].T
    )  # front on top, patient's right on the left
    assert picture.spacing == (2.0, 1.0)


def test_channels_of_a_nifti_come_first(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    assert read_image(tmp_path / "a.nii.gz", 3).array.shape == (2, 4, 5, 6)


def test_a_dicom_slice_is_rescaled(tmp_path: Path) -> None:
    picture = read_image(dicom(tmp_path / "a.dcm", RAMP.astype(np.uint16), 0, 1), 2)
    np.testing.assert_array_equal(picture.array[0], RAMP * 2.0 - 1000)
    assert picture.spacing == (0.5, 0.75)


def test_monochrome1_is_turned_into_a_positive(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a", RAMP.astype(np.uint16), 0, 1, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_image(path).array[0], (4095 - RAMP.astype(int)) * 2.0 - 1000)


def test_a_series_is_ordered_by_place_not_by_name_or_number(tmp_path: Path) -> None:
    for name, (z, number) in {"c": (0, 9), "a": (3, 1), "b": (6, 4)}.items():
        dicom(tmp_path / f"{name}.dcm", np.full((6, 4), 500 + z, np.uint16), z, number)
    (tmp_path / "notes.txt").write_text("not an image")
    picture = read_image(tmp_path, 3)
    assert picture.array.shape == (1, 4, 6, 3)
    assert picture.spacing == (0.75, 0.5, 3.0)
    np.testing.assert_array_equal(picture.array[0, 0, 0], [0, 6, 12])


def test_a_series_lies_like_the_same_volume_in_nifti(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    for z in range(3):
        dicom(tmp_path / "series" / f"{z}.dcm", RAMP.astype(np.uint16) + 100 * z, z, z)
    picture = read_image(tmp_path / "series", 3)
    # rows run to the back, columns to the patient's left: both against RAS+
    expected = np.stack([(RAMP + 100.0 * z)[::-1, ::-1].T for z in range(3)], axis=-1) * 2 - 1000
    np.testing.assert_array_equal(picture.array[0], expected)


@pytest.mark.parametrize(
    ("heights", "series", "said"),
    [
        ([0, 0, 3], "1.2.3", "images of one position"),
        ([0, 3, 12], "1.2.3", "lacks 2 slices"),
        ([0, 3, 6], None, "3 series"),
    ],
)
def test_a_folder_that_is_no_single_stack_is_refused(
    tmp_path: Path, heights: list[float], series: str | None, said: str
) -> None:
    for number, z in enumerate(heights):
        dicom(tmp_path / f"{number}.dcm", RAMP.astype(np.uint16), z, number, series or f"1.{number}")
    with pytest.raises(DataError, match=said):
        read_image(tmp_path, 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.nii.gz", "a.nii", "a.dcm"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n and then nothing of use")
    with pytest.raises(DataError, match=name):
        read_image(tmp_path / name)


def test_a_picture_cut_short_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = png(tmp_path / "a.png", noise)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"a\.png"):
        read_image(path)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="Object arrays"):
        read_image(tmp_path / "a.npy")


def test_a_volume_is_no_picture(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"a volume \(3D\), but the job wants a picture"):
        read_image(tmp_path / "a.nii", 2)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.full((4, 5, 6), np.nan, np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match="not finite"):
        read_image(tmp_path / "a.nii")


def test_columns_are_stacked_and_grey_in_colour_counts_as_grey(tmp_path: Path) -> None:
    grey, colour = png(tmp_path / "a.png", RAMP), png(tmp_path / "b.png", RAMP, "RGB")
    assert read_images([grey, colour], 2, 2).array.shape == (2, 6, 4)
    assert read_images([colour], 2, 1).array.shape == (1, 6, 4)
    assert read_images([colour], 2, 3).array.shape == (3, 6, 4)
    real = png(tmp_path / "c.png", np.stack([RAMP, RAMP[::-1], RAMP], axis=-1))
    for path, channels in ((real, 1), (grey, 3)):
        with pytest.raises(DataError, match=f"but the job wants {channels}"):
            read_images([path], 2, channels)
    with pytest.raises(DataError, match=r"is 4x6, but .*/a\.png is 6x4"):
        read_images([grey, png(tmp_path / "d.png", np.ascontiguousarray(RAMP.T))], 2, 2)


def test_masks_of_one_class(tmp_path: Path) -> None:
    levels = np.uint8([[0, 127, 128, 255]])
    np.testing.assert_array_equal(read_mask(png(tmp_path / "a.png", levels), 1), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(read_mask(png(tmp_path / "b.png", np.uint8([[0, 1]])), 1), [[0, 1]])
    with pytest.raises(DataError, match=r"c.png: holds 2 values"):
        read_mask(png(tmp_path / "c.png", np.uint8([[0, 1, 2]])), 1)
    nibabel.save(nibabel.Nifti1Image(np.float32([[[0, 0.6, 1]]]), np.eye(4)), tmp_path / "d.nii")
    with pytest.raises(DataError, match=r"d.nii: holds 0.6"):
        read_mask(tmp_path / "d.nii", 1, 3)


def test_masks_of_several_classes(tmp_path: Path) -> None:
    values = np.uint8([[0, 1, 2, 3]])
    np.testing.assert_array_equal(read_mask(png(tmp_path / "a.png", values), 3), values)
    with pytest.raises(DataError, match=r"a\.png: holds the value 3"):
        read_mask(tmp_path / "a.png", 2)
    coloured = Image.fromarray(values, mode="P")
    coloured.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    coloured.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "p.png", 3), values)
