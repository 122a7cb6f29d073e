"""A folder of DICOM studies as an archive gives it, as images: a series each, wherever its files lie."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.misc import is_dicom

from client.data.images.readers import ENDINGS

_TAGS = [
    *("PatientID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality"),
    *("Rows", "NumberOfFrames", "SOPClassUID"),
]
_NO_IMAGES = ("SEG", "SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "DOC")


@dataclass(frozen=True)
class Series:
    """The files of a series.

    Attributes:
        path: What is read: the one file, the folder that holds the series and nothing else, or one of links
            to its files.
        name: As people call it: where it lies, and its number where it is one of several there.
        patient: As its files say; empty where they don't.
    """

    path: Path
    name: str
    patient: str


def is_dicom_file(path: Path) -> bool:
    """Say whether a file is DICOM; those from an archive often have no ending."""
    name = path.name.lower()
    if name.endswith(".dcm"):
        return True
    return not name.endswith(ENDINGS) and path.name != "DICOMDIR" and path.is_file() and is_dicom(path)


def series_of(files: Iterable[Path], folder: Path, staging: Path | None) -> Iterator[Series]:
    """Yield the series that files are of; those without an image (segmentations, reports) are left out.

    Args:
        files: All of them DICOM, somewhere in the folder.
        folder: From which names count.
        staging: A folder for links to the files of series that share a folder with others; without it such
            a folder is one image, which is then refused with the reason.
    """
    series: dict[tuple[str, str], list[Path]] = defaultdict(list)
    headers: dict[tuple[str, str], Dataset] = {}
    shared: dict[Path, set[tuple[str, str]]] = defaultdict(set)
    for file in files:
        header = _header(file)
        key = str(header.get("PatientID") or ""), str(header.get("SeriesInstanceUID") or file.parent)
        series[key].append(file)
        headers.setdefault(key, header)
        shared[file.parent].add(key)
    names: set[str] = set()
    for number, (key, own) in enumerate(sorted(series.items(), key=lambda item: item[1][0]), 1):
        header = headers[key]
        if header.get("Modality") in _NO_IMAGES:
            continue
        alone = {file.parent for file in own}
        is_whole = len(alone) == 1 and len(shared[own[0].parent]) == 1
        if len(own) == 1:
            yield Series(own[0], _below(folder, own[0]), key[0])
        elif is_whole or staging is None:
            yield Series(own[0].parent, _below(folder, own[0].parent), key[0])
        else:
            text = f"series {header.get('SeriesNumber') or number} {header.get('SeriesDescription') or ''}"
            name = f"{_below(folder, own[0].parent)}/{text.strip()}"
            name += f" ({number})" if name in names else ""  # numbers of series need not differ
            names.add(name)
            yield Series(_staged(own, staging, number), name, key[0])


def _header(file: Path) -> Dataset:
    """Return what tells a file's series; nothing of one that can't be read, which its reader says."""
    try:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
    except (InvalidDicomError, OSError, ValueError, EOFError):
        return Dataset()


def _staged(files: Sequence[Path], staging: Path, number: int) -> Path:
    folder = staging / f"{number:06d}"
    folder.mkdir(mode=0o700)
    for place, file in enumerate(files):
        (folder / f"{place:06d}.dcm").symlink_to(file.resolve())
    return folder


def _below(folder: Path, path: Path) -> str:
    return folder.name if path == folder else path.relative_to(folder).as_posix()
