"""Where DICOM images lie in the patient (PS3.3 C.7.6.2, image plane): LPS in the files, RAS+ here."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from client.data.formats.square_pixels import require_square
from shared.errors import DataError

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_FLAT, _CENTIMETRES = 1, 3  # of a region of ultrasound (PS3.3 C.8.5.5.1)
_UNIT = 1e-2  # how far directions may be from length 1 and from a right angle


@dataclass(frozen=True)
class Plane:
    """The plane of one image, in mm, LPS.

    Attributes:
        rows: Direction in which a row runs, that is to the next column.
        columns: Direction in which a column runs, that is to the next row.
        spacing: Between rows, between columns.
        origin: Centre of the first pixel.
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    spacing: tuple[float, float]
    origin: NDArray[np.float64]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Direction out of the plane."""
        return np.cross(self.rows, self.columns)

    def affine(self) -> NDArray[np.float64]:
        """Return (3, 3): (row, column, 1) to RAS+ mm."""
        between_rows, between_columns = self.spacing
        lps = np.column_stack([self.columns * between_rows, self.rows * between_columns, self.origin])
        return TO_RAS[:3, :3] @ lps


def plane_of(dataset: Dataset, where: Path) -> Plane | None:
    """Return the plane of a file or frame; None where it lacks its place.

    Raises:
        DataError: What it says is not a plane.
    """
    tags = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")
    found = [_numbers(dataset, tag, count, where) for tag, count in zip(tags, (6, 3, 2), strict=True)]
    if any(numbers is None for numbers in found):
        return None
    orientation, origin, spacing = (np.asarray(numbers) for numbers in found)
    rows, columns = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(rows), np.linalg.norm(columns)
    if max(abs(length - 1) for length in lengths) > _UNIT or abs(rows @ columns) > _UNIT:
        raise DataError("has an ImageOrientationPatient that is not a plane", where=where)
    return Plane(rows, columns, (float(spacing[0]), float(spacing[1])), origin)


def pixel_spacing(dataset: Dataset, where: Path) -> tuple[float, float] | None:
    """Return the millimetres between rows and between columns.

    Of a projection (X-ray) without PixelSpacing it is that at the detector.

    Raises:
        DataError: It is not a pair of numbers; or it is not there and pixels are not square.
    """
    for tag in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        numbers = _numbers(dataset, tag, 2, where)
        if numbers is not None:
            return numbers[0], numbers[1]
    if ratio := _numbers(dataset, "PixelAspectRatio", 2, where):
        require_square(ratio[0], ratio[1], "PixelAspectRatio", where)
    for region in dataset.get("SequenceOfUltrasoundRegions") or ():
        if region.get("RegionSpatialFormat") == _FLAT and _units(region) == (_CENTIMETRES, _CENTIMETRES):
            down, across = (abs(float(region.get(f"PhysicalDelta{axis}") or 0)) for axis in "YX")
            require_square(down, across, "PhysicalDeltaY, PhysicalDeltaX", where)
    return None


def _units(region: Dataset) -> tuple[object, ...]:
    return tuple(region.get(f"PhysicalUnits{axis}Direction") for axis in "XY")


def _numbers(dataset: Dataset, tag: str, count: int, where: Path) -> list[float] | None:
    value = dataset.get(tag)
    if value is None or value == "" or len(value) == 0:
        return None
    try:
        numbers = [float(number) for number in value]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise DataError(f"has a {tag} of '{value}', which is not {count} numbers", where=where)
    return numbers
