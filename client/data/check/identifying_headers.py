"""Fields in the headers of image files that may say whose image it is: their names, never their values."""

import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from pydicom.misc import is_dicom

from client.data.check.slide_headers import dicom_fields, tiff_fields
from client.data.formats.dicom.bytes import read_whole
from client.data.formats.hdf5 import HDF5, header_of, opened
from client.data.formats.library_messages import warnings_heard
from client.data.formats.nifti import nifti_header

# Of PS3.15, table E.1-1 (basic profile), what names people, places, dates and numbers of theirs.
_DICOM = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientAge",
    "PatientComments",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "MilitaryRank",
    "AccessionNumber",
    "InstitutionName",
    "InstitutionAddress",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "PhysiciansOfRecord",
    "OperatorsName",
    "StationName",
    "DeviceSerialNumber",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "ContentDate",
    "StudyID",
    "ImageComments",
)
_EXIF = {
    34853: "GPS position",
    42033: "serial number of the camera",
    42032: "owner of the camera",
    270: "description",
    315: "artist",
    33432: "copyright",
    36867: "time of the photograph",
    37510: "comment",
    40093: "author",
}
_TEXT_HEADER = 2**14  # bytes of a file that are looked at
_EXIF_TABLE = 34665  # where a camera's own fields are
_SAYS_NOTHING = (b"none", b"time=0.000")  # what programs write where they have nothing to say
_VERSION = re.compile(rb"(FSL|SPM)?\d{0,2}(\.\d+)*(:[0-9a-f]+)?")  # of a program
_TALKS_OF_PEOPLE = re.compile(r"patient|birth|institution|operator|physician|accession|study.?date", re.I)

_ELEMENT = re.compile(r"<(?:\w+:)?(\w+)>([^<]*)(?=<)")
_OF_PEOPLE = frozenset(
    {
        *("patientName", "patientID", "patientBirthdate", "accessionNumber", "referringPhysicianName"),
        *("institutionName", "stationName", "studyDate", "studyInstanceUID", "seriesDate"),
    }
)  # of ISMRMRD's header


def identifying_fields(path: Path) -> frozenset[str]:
    """Return the names of the filled fields of a file, or of the first file of a series, that may identify.

    A header that can't be read counts as one: nobody can say that it names nobody.
    """
    try:
        with warnings_heard():
            beside = frozenset(dicom_fields(path)) if path.is_dir() else frozenset[str]()
            return beside | frozenset(_found(_first_of(path)))
    except Exception:  # whatever libraries raise on a broken file; reading it as an image says why
        return frozenset({"a header that can't be read"})


def _first_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    return next(file for file in sorted(path.iterdir()) if file.is_file())


def _found(path: Path) -> Iterator[str]:
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        header = nifti_header(path)
        for field in ("descrip", "db_name", "aux_file"):
            text = bytes(header[field].tobytes()).strip(b"\0 ")
            if text and text.lower() not in _SAYS_NOTHING and not _VERSION.fullmatch(text):
                yield field
    elif name.endswith((".mha", ".mhd", ".nrrd", ".nhdr")):
        yield from _of_text_header(path)
    elif name.endswith((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".svs")):
        yield from _of_picture(path)
        if name.endswith((".tif", ".tiff", ".svs")):
            yield from tiff_fields(path)
    elif name.endswith(HDF5):
        yield from _of_scan(path)
    elif is_dicom(path):
        dataset = read_whole(path, force=False, without_pixels=True)
        yield from (field for field in _DICOM if str(dataset.get(field) or "").strip())
        people = (
            element for element in dataset.iterall() if element.VR == "PN" and str(element.value).strip()
        )
        yield from (element.keyword or "a name in private tags" for element in people)
        if any(element.tag.is_private for element in dataset):
            yield "private tags"


def _of_scan(path: Path) -> Iterator[str]:
    """Yield the elements of the header of a file of k-space that talk of people."""
    with opened(path) as file:
        header = header_of(file, path)
    yield from (name for name, value in _ELEMENT.findall(header) if value.strip() and name in _OF_PEOPLE)


def _of_picture(path: Path) -> Iterator[str]:
    with Image.open(path) as file:
        exif = file.getexif()
        found = {**exif, **exif.get_ifd(_EXIF_TABLE)}
        yield from (what for tag, what in _EXIF.items() if str(found.get(tag) or "").strip())
        yield from (what for what in ("xmp", "photoshop") if file.info.get(what))
        texts = getattr(file, "text", {})
        yield from (f"text '{key}'" for key in texts if key.lower() not in ("software",))


def _of_text_header(path: Path) -> Iterator[str]:
    """Yield the keys of a MetaImage or NRRD header that talk of people."""
    with path.open("rb") as file:
        header = file.read(_TEXT_HEADER).partition(b"\n\n")[0].decode("latin-1")
    for line in header.splitlines():
        key, separator, value = line.replace(":=", "=").partition("=")
        if separator and value.strip() and _TALKS_OF_PEOPLE.search(key):
            yield key.strip()[:40]
