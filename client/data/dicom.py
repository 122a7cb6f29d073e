"""DICOM files and series as arrays.

Written over pydicom, because MONAI's `PydicomReader` orders a series by its instance numbers, which follow
time or acquisition as often as space, drops slices that lack one, and shows MONOCHROME1 images as negatives.
Geometry: DICOM PS3.3 C.7.6.2 (image plane).
"""

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom
from pydicom.pixels import apply_color_lut, apply_modality_lut

from client.data.formats.placed import placed
from client.data.picture import Picture, Turn
from shared.errors import DataError


def read_slice(path: Path) -> Picture:
    """Read one DICOM file, in rescaled units (CT: Hounsfield).

    Raises:
        DataError: The file holds no picture, or several frames.
    """
    dataset = pydicom.dcmread(path)
    array = _channels_first(_pixels(dataset, path))
    return Picture(array, _spacing(dataset), _plane(dataset), Turn.none(2))


def read_series(folder: Path, dimensions: int | None) -> Picture:
    """Read the DICOM series in a folder as one volume, its slices ordered by their place in the patient.

    Raises:
        DataError: The folder holds no series or several, or the slices do not form an even stack.
    """
    found = (pydicom.dcmread(file) for file in sorted(folder.iterdir()) if file.is_file() and is_dicom(file))
    slices = [dataset for dataset in found if "PixelData" in dataset]
    if not slices:
        raise DataError("holds no DICOM image", where=folder)
    _check_series(slices, folder)
    normal = np.cross(*np.reshape(_numbers(slices[0], "ImageOrientationPatient", folder), (2, 3)))
    heights = np.array([normal @ _numbers(item, "ImagePositionPatient", folder) for item in slices])
    order = np.argsort(heights)
    _check_gaps(np.diff(heights[order]), folder)
    ordered = [slices[index] for index in order]
    volume = np.stack([_pixels(dataset, folder).astype(np.float32) for dataset in ordered], axis=-1)
    if volume.ndim != 3:
        raise DataError("is a series of colour pictures, not of slices", where=folder)
    return placed(volume[None], _affine(ordered, folder), dimensions)


def _check_series(slices: list[Dataset], folder: Path) -> None:
    for tag, what in (
        ("SeriesInstanceUID", "series"),
        ("Rows", "numbers of rows"),
        ("Columns", "numbers of columns"),
        ("ImageOrientationPatient", "orientations"),
        ("PixelSpacing", "pixel spacings"),
    ):
        values = {str(dataset.get(tag)) for dataset in slices}
        if len(values) > 1:
            raise DataError(
                f"holds images of {len(values)} {what} ({tag})",
                where=folder,
                remedy="Put each series into a folder of its own.",
            )


def _check_gaps(gaps: NDArray[np.float64], folder: Path) -> None:
    """Refuse a stack with two images at one place, or with a slice missing."""
    if gaps.size and gaps.min() < 1e-3:
        raise DataError(
            "holds several images of one position (time points or directions)",
            where=folder,
            remedy="Put each volume into a folder of its own.",
        )
    if gaps.size and gaps.max() > 1.5 * gaps.min():
        raise DataError(
            f"lacks slices: some lie {gaps.min():.2f} mm apart, others {gaps.max():.2f} mm",
            where=folder,
        )


def _affine(ordered: list[Dataset], folder: Path) -> NDArray[np.float64]:
    """Return the affine from (row, column, slice) to RAS+ mm; a tilted gantry shears it."""
    first, last = ordered[0], ordered[-1]
    along_row, along_column = np.reshape(_numbers(first, "ImageOrientationPatient", folder), (2, 3))
    between_rows, between_columns = _numbers(first, "PixelSpacing", folder)
    origin = _numbers(first, "ImagePositionPatient", folder)
    if len(ordered) > 1:
        step = (_numbers(last, "ImagePositionPatient", folder) - origin) / (len(ordered) - 1)
    else:
        step = np.cross(along_row, along_column) * float(first.get("SliceThickness") or 1.0)
    affine = np.eye(4)
    affine[:3, :4] = np.column_stack([along_column * between_rows, along_row * between_columns, step, origin])
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _numbers(dataset: Dataset, tag: str, where: Path) -> NDArray[np.float64]:
    value = dataset.get(tag)
    if value is None:
        raise DataError(f"has no {tag}, so its slices can't be put in place", where=where)
    return np.array(value, dtype=np.float64)


def _plane(dataset: Dataset) -> NDArray[np.float64] | None:
    """Return the affine (3, 3) of a slice, (row, column, 1) to RAS+ mm; None where the file has no place."""
    tags = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")
    if any(dataset.get(tag) is None for tag in tags):
        return None
    along_row, along_column = np.reshape([float(x) for x in dataset.ImageOrientationPatient], (2, 3))
    between_rows, between_columns = (float(x) for x in dataset.PixelSpacing)
    origin = np.array([float(x) for x in dataset.ImagePositionPatient])
    lps = np.column_stack([along_column * between_rows, along_row * between_columns, origin])
    plane: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0]) @ lps
    return plane


def _spacing(dataset: Dataset) -> tuple[float, ...] | None:
    value = dataset.get("PixelSpacing")
    return None if value is None else (float(value[0]), float(value[1]))


def _pixels(dataset: Dataset, where: Path) -> NDArray[np.floating]:
    if "PixelData" not in dataset:
        raise DataError("holds no picture", where=where)
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise DataError(
            "is a multi-frame DICOM, which is not read",
            where=where,
            remedy="Export it as a series of single frames, or as NIfTI.",
        )
    stored = dataset.pixel_array
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return apply_color_lut(stored, dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":  # the lowest value is white
        signed = dataset.PixelRepresentation == 1
        stored = (-1 if signed else 2**dataset.BitsStored - 1) - stored.astype(np.int64)
    return apply_modality_lut(stored, dataset)


def _channels_first(pixels: NDArray[np.floating]) -> NDArray[np.float32]:
    picture = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None]
    return np.ascontiguousarray(picture, dtype=np.float32)
