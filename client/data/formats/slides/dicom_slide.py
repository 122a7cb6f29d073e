"""Slides in DICOM (VL Whole Slide Microscopy): highdicom finds the tiles, and reads only those asked for."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom

from client.data.formats.dicom.bytes import read_whole
from client.data.formats.library_messages import warnings_heard
from client.data.formats.slides.slide import Level, Slide
from shared.errors import DataError

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_VOLUME = "VOLUME"  # of ImageType; others are the label, an overview, a thumbnail
_MICROMETRES = 1000.0
_MOST_TILE = 2**25  # pixels


class DicomSlide(Slide):
    """The files of one series, each a level."""

    def __init__(self, images: list[Any], path: Path) -> None:
        self.has_profile = any(
            "ICCProfile" in optical for optical in images[0].get("OpticalPathSequence") or ()
        )
        levels = [
            Level((int(image.TotalPixelMatrixRows), int(image.TotalPixelMatrixColumns)), _mpp(image), image)
            for image in images
        ]
        super().__init__(path, sorted(levels, key=lambda level: level.mpp))

    @classmethod
    def of(cls, path: Path) -> Self:
        """Open the slide of a file or folder.

        Raises:
            DataError: There is none, or several.
        """
        headers = {file: header for file in _files(path) if (header := _header(file)) is not None}
        levels = {file: header for file, header in headers.items() if is_level(header)}
        if not levels:
            raise DataError("holds no whole slide in DICOM", where=path)
        for tag, what in (("SeriesInstanceUID", "series"), ("PatientID", "patients")):
            found = {str(header.get(tag) or "") for header in levels.values()}
            if len(found) > 1:
                raise DataError(
                    f"holds slides of {len(found)} {what}",
                    where=path,
                    remedy="Put each slide into a folder of its own.",
                )
        for file, header in levels.items():
            _require_read(header, file)
        sizes = [header.get("TotalPixelMatrixColumns") for header in levels.values()]
        if len(set(sizes)) < len(sizes):
            raise DataError(
                "holds a level twice", where=path, remedy="Which one is meant? Take the other out."
            )
        with _quiet():
            return cls([highdicom.imread(file, lazy_frame_retrieval=True) for file in levels], path)

    def close(self) -> None:
        """See the base class; each image closes its file when nobody holds it any more."""
        self.levels.clear()

    def read(self, level: Level, top: int, left: int, rows: int, columns: int) -> NDArray[np.uint8]:
        """See the base class."""
        with _quiet():
            part = level.data.get_total_pixel_matrix(
                top,
                top + rows,
                left,
                left + columns,
                dtype=np.uint8,
                apply_icc_profile=False,
                as_indices=True,
            )
        return np.asarray(part)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what highdicom says off the terminal: of a damaged file its name and a traceback."""
    with warnings_heard(), contextlib.redirect_stderr(io.StringIO()):
        yield


def is_level(header: Dataset) -> bool:
    """Say if a file is a level of a slide, and not its label or an overview."""
    kind = header.get("ImageType") or ()
    return bool(header.get("SOPClassUID") == WHOLE_SLIDE) and _VOLUME in kind


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _header(file: Path) -> Dataset | None:
    if not is_dicom(file):
        return None
    return read_whole(file, force=False, without_pixels=True)


def _require_read(header: Dataset, file: Path) -> None:
    stored = tuple(int(header.get(tag) or 0) for tag in ("SamplesPerPixel", "BitsStored"))
    problem = ""
    if stored != (3, 8):
        problem = f"has {stored[0]} channels of {stored[1]} bits, and slides are RGB of 8"
    elif "ConcatenationUID" in header:
        problem = "is one of several files that hold a level together"
    elif int(header.get("NumberOfOpticalPaths") or 1) > 1:
        problem = "has several optical paths (stains)"
    elif int(header.get("TotalPixelMatrixFocalPlanes") or 1) > 1:
        problem = "has several focal planes"
    elif int(header.Rows) * int(header.Columns) > _MOST_TILE:
        problem = "is stored in tiles too large to be read one by one"
    if problem:
        raise DataError(problem, where=file, remedy="Export the one that is meant, in tiles.")


def _mpp(image: Any) -> tuple[float, float]:
    for group in image.get("SharedFunctionalGroupsSequence") or ():
        for measures in group.get("PixelMeasuresSequence") or ():
            down, across = measures.get("PixelSpacing") or (0, 0)
            return float(down) * _MICROMETRES, float(across) * _MICROMETRES
    return 0.0, 0.0
