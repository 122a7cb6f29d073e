"""What an import needs of a file's header: read up to its pixels, and no further."""

import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from client.data.formats.dicom.bytes import UNDEFINED, read_whole
from client.data.formats.library_messages import warnings_heard
from client.dicom_import.archives import ArchiveError
from shared.errors import DataError

Header = dict[str, str | list[str]]
"""Values as text, by their keywords; what is empty is left out. `Problem` is why its series can't be used."""

HEAD = 2**16  # bytes of a file that are read first
KEEPABLE = (
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "BodyPartExamined",
    "Manufacturer",
    "ManufacturerModelName",
    "MagneticFieldStrength",
    "KVP",
    "EchoTime",
    "RepetitionTime",
    "SliceThickness",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
)
"""What may become a column of a dataset; dates are shifted."""
_IDENTITY = ("PatientID", "PatientBirthDate", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID")
_SORTING = (
    *(
        "SOPClassUID",
        "SOPInstanceUID",
        "Modality",
        "SeriesNumber",
        "InstanceNumber",
        "StudyTime",
        "SeriesTime",
    ),
    *("StudyDescription", "SeriesDescription", "ProtocolName", "ImageType", "ContrastBolusAgent"),
    *("BurnedInAnnotation", "NumberOfFrames", "Rows", "Columns"),
)
_GEOMETRY = (  # what `client.data.formats.dicom.series` looks at
    *("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "PixelSpacing", "Units"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "PhotometricInterpretation", "ConvolutionKernel"),
    *("TemporalPositionIdentifier", "AcquisitionNumber", "DiffusionBValue"),
)
_NESTED = (  # where frames lie, and on what a segmentation or a structure set was drawn
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence"),
)
_TAGS = [
    Tag(tag_for_keyword(name) or 0)
    for name in ("SpecificCharacterSet", *_IDENTITY, *_SORTING, *_GEOMETRY, *_NESTED, *KEEPABLE)
]
_NUMBERS: dict[str, Callable[[str], object]] = {"US": int, "FD": float}
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # with a point, with more digits, whole numbers
_LONGEST = 2**27  # bytes of a header
_MARK = slice(128, 132)
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")  # of a file without the preamble


def header_of(path: Path) -> Header:
    """Read what an import needs of a file.

    Raises:
        DataError: It is not DICOM, no image, or damaged; without the file's name.
    """
    with path.open("rb") as file:
        return read_header(file, path.stat().st_size, path)


def read_header(file: IO[bytes], size: int, path: Path | None = None) -> Header:
    """Read what an import needs of an open file, which may lie in an archive.

    Args:
        file: At its begin.
        size: Its bytes.
        path: Where it lies, if not in an archive.

    Raises:
        ArchiveError: The archive in which it lies is damaged.
        DataError: It is not DICOM, no image, or damaged; without the file's name.
        OSError: It can't be read at this moment.
    """
    head = file.read(HEAD)
    if head[_MARK] != b"DICM" and head[:2] not in _FIRST_GROUPS:
        raise DataError("is not DICOM")
    try:
        with warnings_heard():
            dataset, least = _parsed(head, file, path)
            header = _texts(dataset)
    except (ArchiveError, OSError, MemoryError):  # not of this file, or of this moment alone
        raise
    except DataError as error:
        raise DataError(error.problem) from None
    except Exception as error:  # whatever a library raises on a damaged file
        raise DataError(f"has a header that can't be read ({type(error).__name__})") from None
    _require_image(header)
    if size < least:
        header["Problem"] = "holds a file that was cut short"
    return header


def dataset_of(header: Mapping[str, str | list[str]]) -> Dataset:
    """Return a header as pydicom has it."""
    dataset = Dataset()
    for name, value in header.items():
        if tag_for_keyword(name):
            as_number = _NUMBERS.get(dictionary_VR(name), str)
            parts = as_number(value) if isinstance(value, str) else list(map(as_number, value))
            setattr(dataset, name, parts)
    return dataset


def text(header: Header, name: str) -> str:
    """Return a value of a header as one text; empty where it has none."""
    value = header.get(name, "")
    return value if isinstance(value, str) else "\\".join(value)


def _parsed(head: bytes, file: IO[bytes], path: Path | None) -> tuple[Dataset, int]:
    """Return a file's header, and how many bytes the file must have."""
    if DeflatedExplicitVRLittleEndian.encode() in head[: 2**10]:
        return _whole(head, file, path), 0
    while True:
        more = file.read(len(head)) if len(head) < _LONGEST else b""
        try:
            dataset, end = _start(head)
        except Exception:
            if not more:  # what it ends within is missing in the file
                raise
        else:
            if end or not more:
                return dataset, end
        head += more


def _start(head: bytes) -> tuple[Dataset, int]:
    """Read the begin of a file; return also where its pixels end, 0 where they are not reached."""
    end, stream = 0, io.BytesIO(head)

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal end
        if tag in _PIXELS:
            end = stream.tell() + (0 if length == UNDEFINED else length)
        return end > 0

    return read_partial(stream, stop_when=stop, specific_tags=_TAGS, force=True), end


def _whole(head: bytes, file: IO[bytes], path: Path | None) -> Dataset:
    """Read all of a header; what lies in an archive is put into a file for that."""
    if path is not None:
        return read_whole(path, without_pixels=True)
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(head)
        shutil.copyfileobj(file, copy)
        copy.flush()
        return read_whole(Path(copy.name), without_pixels=True)


def _texts(dataset: Dataset) -> Header:
    header: Header = {}
    for tag in _TAGS[1:]:
        element = dataset.get(tag)
        if element is None or element.VR == "SQ" or element.value in (None, ""):
            continue
        value = element.value
        if isinstance(value, MultiValue):
            header[element.keyword] = [str(part) for part in value]
        else:
            header[element.keyword] = str(value)
    if references := sorted(set(_references(dataset))):
        header["References"] = references
    if "ImageOrientationPatient" not in header and (ways := _way_of_frames(dataset)):
        header["FrameOrientation"] = ways
    return header


def _way_of_frames(dataset: Dataset) -> list[str]:
    """Return the direction cosines of an object of many frames, which say it for all or for each."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(dataset.get(groups) or ())[:1]:
            for plane in group.get("PlaneOrientationSequence") or ():
                return [str(part) for part in plane.get("ImageOrientationPatient") or ()]
    return []


def _references(dataset: Dataset) -> Iterator[str]:
    """Give the series that a segmentation or a structure set was drawn on."""
    series = list(dataset.get("ReferencedSeriesSequence") or ())
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            series += study.get("RTReferencedSeriesSequence") or ()
    for one in series:
        if uid := one.get("SeriesInstanceUID"):
            yield str(uid)


def _require_image(header: Header) -> None:
    if "SOPClassUID" not in header or "SOPInstanceUID" not in header:
        raise DataError("is not DICOM, or an index of a disk (DICOMDIR)")
    modality = text(header, "Modality") or "unknown"
    if modality != "RTSTRUCT" and not {"Rows", "Columns"} <= header.keys():
        raise DataError(f"is no image (modality {modality})")
    for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
        if name not in header:
            raise DataError(f"has no {name}")
