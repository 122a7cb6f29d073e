"""Fields in the headers of image files that may say whose image it is: their names, never their values."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from pydicom.misc import is_dicom

from client.data.formats.dicom.bytes import read_whole
from client.data.formats.heard import warnings_heard
from client.data.formats.nifti import nifti_header

# Of PS3.15, table E.1-1 (basic profile), what names people, places, dates and numbers of theirs.
_DICOM = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "PatientBirthDate",
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
    "StudyID",
)
_EXIF = {
    34853: "GPS position",
    42033: "serial number of the camera",
    42032: "owner of the camera",
    315: "artist",
}


def identifying_fields(path: Path) -> frozenset[str]:
    """Return the names of the filled fields of a file, or of the first file of a series, that may identify.

    A header that can't be read counts as one: nobody can say that it names nobody.
    """
    try:
        with warnings_heard():
            return frozenset(_found(_first_of(path)))
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
            if bytes(header[field].tobytes()).strip(b"\0 "):
                yield field
    elif name.endswith((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")):
        yield from _of_picture(path)
    elif is_dicom(path):
        dataset = read_whole(path, force=False, without_pixels=True)
        yield from (field for field in _DICOM if str(dataset.get(field) or "").strip())
        if any(element.tag.is_private for element in dataset):
            yield "private tags"


def _of_picture(path: Path) -> Iterator[str]:
    with Image.open(path) as file:
        exif = file.getexif()
        yield from (what for tag, what in _EXIF.items() if tag in exif)
        texts = getattr(file, "text", {})
        yield from (f"text '{key}'" for key in texts if key.lower() not in ("software",))
