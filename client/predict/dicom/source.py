"""The DICOM files of an image, as what is said of it refers to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom

from shared.errors import DataError

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
_MAY_BE_EMPTY = (  # type 2 of patient and study: must be there, and may say nothing
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)
_NO_DICOM = "is not a DICOM image, and DICOM's results refer to one"


@dataclass(frozen=True)
class Source:
    """An image's DICOM files.

    Attributes:
        headers: Of each file, without its pixels.
        path: The file, or the folder of the series.
    """

    headers: Sequence[Dataset]
    path: Path

    @property
    def first(self) -> Dataset:
        """The first file's header."""
        return self.headers[0]

    @property
    def uids(self) -> list[str]:
        """The SOP instance UIDs, sorted."""
        return sorted(str(header.SOPInstanceUID) for header in self.headers)


def dicom_source(path: Path) -> Source:
    """Return the files of an image that was read from DICOM.

    Args:
        path: A file, or the folder that holds a series.

    Raises:
        DataError: It is none of DICOM, or lacks what results refer to.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = [_header(file) for file in files if file.is_file() and is_dicom(file)]
    headers = [header for header in found if "Rows" in header]
    if not headers:
        raise DataError(_NO_DICOM, where=path, remedy="Leave out --as, or give the images as DICOM.")
    for header in headers:
        if missing := [name for name in _NEEDED if not header.get(name)]:
            raise DataError(f"lacks {', '.join(missing)}, to which results refer", where=path)
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, None)
    return Source(headers, path)


def is_dicom_image(path: Path) -> bool:
    """Say whether an image that was read is of DICOM: a file, or a folder with a series."""
    return path.is_dir() or is_dicom(path)


def _header(file: Path) -> Dataset:
    return pydicom.dcmread(file, stop_before_pixels=True)
