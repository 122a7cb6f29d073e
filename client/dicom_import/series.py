"""The files of one series, and what the rules of an import look at."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from client.data.formats.dicom import require_volume
from client.dicom_import.headers import Header, dataset_of, text
from shared.errors import DataError

_ALONG = 0.8  # of a normal's length, along one axis: 37 degrees
_PLANES = ("sagittal", "coronal", "axial")
_ROUNDED = 2  # digits of a millimetre: one place
_TARGETS = ("SEG", "RTSTRUCT")  # what was drawn on a series, and has no slices of its own


@dataclass(frozen=True)
class SourceFile:
    """A file that was found.

    Attributes:
        number: In the index.
        archive: The archive in which it lies; empty for a file of its own.
        name: Its path, or its name in the archive.
        size: Bytes.
    """

    number: int
    archive: str
    name: str
    size: int
    header: Header

    @property
    def shown(self) -> str:
        """Where it lies, as a person may look for it."""
        return shown(self.archive, self.name)

    @property
    def is_there(self) -> bool:
        """Whether it, or its archive, is still on the disk."""
        return Path(self.archive or self.name).is_file()


def shown(archive: str, name: str) -> str:
    """Return where a file lies, as a person may look for it."""
    return f"{archive}: {name}" if archive else name


@dataclass(frozen=True)
class Series:
    """One series of a study; its files in the order of the index.

    Attributes:
        uid: SeriesInstanceUID.
        study: StudyInstanceUID.
        patient: PatientID.
    """

    uid: str
    study: str
    patient: str
    files: Sequence[SourceFile]

    def images(self) -> list["Series"]:
        """Return a series for each file, with a UID of its own."""
        return [
            replace(self, uid=f"{self.uid} {text(file.header, 'SOPInstanceUID')}", files=[file])
            for file in self.files
        ]

    @property
    def header(self) -> Header:
        """The first file's."""
        return self.files[0].header

    @property
    def modality(self) -> str:
        """Such as MR."""
        return text(self.header, "Modality")

    @property
    def is_image(self) -> bool:
        """Whether it was taken, and not drawn."""
        return self.modality not in _TARGETS

    @property
    def descriptions(self) -> str:
        """What the scanner and its users call it."""
        return "\n".join(text(self.header, name) for name in ("SeriesDescription", "ProtocolName"))

    @property
    def when(self) -> tuple[str, str, float]:
        """Sorts the series of a patient in time."""
        date = text(self.header, "SeriesDate") or text(self.header, "StudyDate")
        time = text(self.header, "SeriesTime") or text(self.header, "StudyTime")
        number = text(self.header, "SeriesNumber")
        return date, time, float(number) if number.isdecimal() else 0.0

    @property
    def contrast(self) -> bool:
        """Whether a contrast agent was given."""
        return any(text(file.header, "ContrastBolusAgent") for file in self.files)

    @cached_property
    def orientation(self) -> str:
        """The plane of its slices: axial, coronal, sagittal, oblique or several; empty where it has none."""
        found = {_plane(file.header) for file in self.files}
        return found.pop() if len(found) == 1 else "several"

    @cached_property
    def slices(self) -> int:
        """How many places it has; of a file with many frames, these."""
        frames = [int(text(file.header, "NumberOfFrames") or 1) for file in self.files]
        if max(frames) > 1:
            return max(frames)
        return len({_place(file.header) or (file.number,) for file in self.files})

    @property
    def volumes(self) -> int:
        """How many images lie at each place, on average and rounded down."""
        many = any(text(file.header, "NumberOfFrames") not in ("", "1") for file in self.files)
        return len(self.files) if many else len(self.files) // self.slices

    def problem(self) -> str | None:
        """Return why a network can't be shown it, as far as its headers tell."""
        if damaged := next((own for file in self.files if (own := text(file.header, "Problem"))), None):
            return damaged
        if not self.is_image:
            return (
                None if len(self.files) == 1 else f"has {len(self.files)} files of modality {self.modality}"
            )
        try:
            headers = [(dataset_of(file.header), Path(file.name)) for file in self.files]
            require_volume(headers, Path(self.uid))
        except DataError as error:
            return error.problem
        except (ValueError, TypeError, AttributeError) as error:  # a value that is of another kind
            return f"has a value that can't be understood ({type(error).__name__})"
        return None


def _ways(header: Header) -> np.ndarray | None:
    value = header.get("ImageOrientationPatient") or header.get("FrameOrientation")
    try:
        numbers = np.array([float(part) for part in value or ()])
    except ValueError:
        return None
    return numbers.reshape(2, 3) if len(numbers) == 6 else None


def _plane(header: Header) -> str:
    ways = _ways(header)
    if ways is None:
        return ""
    normal = np.abs(np.cross(*ways))
    axis = int(normal.argmax())
    return _PLANES[axis] if normal[axis] >= _ALONG else "oblique"


def _place(header: Header) -> tuple[float, ...]:
    value, ways = header.get("ImagePositionPatient"), _ways(header)
    if not isinstance(value, list) or ways is None:
        return ()
    try:
        return (round(float(np.cross(*ways) @ np.array([float(part) for part in value])), _ROUNDED),)
    except ValueError:
        return ()
