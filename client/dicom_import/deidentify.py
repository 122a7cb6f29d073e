"""De-identified copies: DICOM PS3.15, Basic Application Level Confidentiality Profile, without an option.

What is done with each element stands in the standard's table E.1-1, which the library `dicom-anonymizer`
keeps. Its own procedure is not used: it looks at no element within a sequence that stays, gives random UIDs
and replaces dates that are to be removed. Here the table holds at every depth, UIDs follow from the
hospital's key, and besides what it names go private elements, elements that the standard does not know, and
whatever stands before the file's begin.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any

import pydicom
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c
from pydicom.datadict import dictionary_has_tag, repeater_has_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from client.data.formats.dicom.bytes import read_whole
from client.dicom_import.faces import may_show_a_face
from client.dicom_import.pseudonyms import Pseudonyms

EDITION = "2026c"
PROFILE = f"DICOM PS3.15 {EDITION}, Basic Application Level Confidentiality Profile"
_ACTIONS = {  # of the library's lists: the choice among several is the one that no IOD forbids
    "X_TAGS": "remove",
    "Z_TAGS": "empty",
    "X_Z_TAGS": "empty",
    "D_TAGS": "dummy",
    "Z_D_TAGS": "dummy",
    "X_D_TAGS": "dummy",
    "X_Z_D_TAGS": "dummy",
    "U_TAGS": "keep",  # UIDs are mapped wherever they stand
    "X_Z_U_STAR_TAGS": "keep",  # sequences of references, whose UIDs are mapped
}
_STANDARD = "1.2.840.10008."  # UIDs of DICOM itself: kinds of objects, transfer syntaxes
_DUMMIES: Mapping[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), "REMOVED"),
    **dict.fromkeys(("DS", "IS"), "0"),
    **dict.fromkeys(("FD", "FL", "SL", "SS", "UL", "US", "SV", "UV"), 0),
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
}
_METHOD = ("113100", "DCM", "Basic Application Confidentiality Profile")
_META = ("TransferSyntaxUID", "MediaStorageSOPClassUID")  # of the file's own group; the rest is made anew


def deidentify(source: Path, target: IO[bytes], names: Pseudonyms) -> None:
    """Write a de-identified copy of a file, whose pixels are as they were.

    Args:
        source: The file.
        target: Open for it.
        names: The hospital's pseudonyms.

    Raises:
        DataError: The file is damaged.
        OSError: The copy can't be written.
    """
    dataset = read_whole(source)
    patient = names.patient(str(dataset.get("PatientID") or ""))
    shows_face = may_show_a_face(lambda name: str(dataset.get(name) or ""))
    clean(dataset, names)
    dataset.PatientID = dataset.PatientName = patient
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = PROFILE[:64]
    if shows_face:
        dataset.RecognizableVisualFeatures = "YES"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = _METHOD
    dataset.DeidentificationMethodCodeSequence = Sequence([code])
    _renew_file_meta(dataset)
    pydicom.dcmwrite(target, dataset, enforce_file_format=True)


def clean(dataset: Dataset, names: Pseudonyms) -> None:
    """Do to every element of a dataset, at any depth, what the profile says of it."""
    for tag in list(dataset.keys()):
        element = dataset[tag]
        action = _action(int(tag))
        if action == "remove":
            del dataset[tag]
        elif element.VR == "SQ" and action in ("empty", "dummy"):
            dataset[tag].value = Sequence([])
        elif action == "empty":
            element.clear()
        elif element.VR == "UI":
            _map_uids(element, names)
        elif action == "dummy":
            _set_dummy(element)
        elif element.VR == "SQ":
            for item in element.value:
                clean(item, names)


@cache
def _action(tag: int) -> str:
    group, number = tag >> 16, tag & 0xFFFF
    if group % 2 or not (dictionary_has_tag(tag) or repeater_has_tag(tag)):
        return "remove"
    exact, masked = table()
    if (group, number) in exact:
        return exact[group, number]
    for (wanted, wanted_number, mask, mask_number), action in masked.items():
        if group & mask == wanted & mask and number & mask_number == wanted_number & mask_number:
            return action
    return "keep"


@cache
def table() -> tuple[dict[tuple[int, int], str], dict[tuple[int, int, int, int], str]]:
    """Return what is done with elements: those that the standard names, and those of repeating groups."""
    found = {tag: action for name, action in _ACTIONS.items() for tag in getattr(dicomfields_2026c, name)}
    exact = {tag: action for tag, action in found.items() if len(tag) == 2}
    return exact, {tag: action for tag, action in found.items() if len(tag) == 4}


def mapped(uid: str, names: Pseudonyms) -> str:
    """Return the UID that stands for another one; DICOM's own stay."""
    if not uid or uid.startswith(_STANDARD):
        return uid
    number = hashlib.sha256(names.digest(f"uid {uid}").encode()).digest()[:16]
    return f"2.25.{int.from_bytes(number, 'big')}"


def _map_uids(element: DataElement, names: Pseudonyms) -> None:
    value = element.value
    if isinstance(value, str):
        element.value = mapped(value, names)
    elif value:
        element.value = [mapped(str(part), names) for part in value]


def _set_dummy(element: DataElement) -> None:
    """Put in a value that says nothing, where there was one; bytes go."""
    if element.VR in _DUMMIES:
        element.value = _DUMMIES[element.VR] if not element.is_empty else None
    else:
        element.clear()


def _renew_file_meta(dataset: Dataset) -> None:
    """Leave in the file's own group what a reader needs, and nothing in what stands before it."""
    old, new = dataset.file_meta, FileMetaDataset()
    for name in _META:
        if name in old:
            setattr(new, name, old[name].value)
    new.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta, dataset.preamble = new, bytes(128)
