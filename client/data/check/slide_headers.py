"""What of a whole slide may say whose it is: texts of its header, and pictures of its label and glass."""

import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from pydicom.misc import is_dicom

from client.data.formats.dicom.bytes import read_whole
from client.data.formats.slides.dicom_slide import WHOLE_SLIDE

_DESCRIPTION, _SUBFILE = 270, 254
_APERIO = b"Aperio"
_TELLING = ("Filename", "User", "Date", "Time", "Title", "ImageID", "Barcode", "ScanScope ID", "Patient")
_KEY = re.compile(r"\|\s*([^|=]+?)\s*=\s*[^|\s]")
_PICTURES = {"label": "picture of the label", "macro": "picture of the glass"}
_OF_DICOM = {"LABEL": "picture of the label", "OVERVIEW": "picture of the glass"}
_KINDS = {1: "picture of the label", 9: "picture of the glass"}  # NewSubfileType of Aperio's small pages
_MOST_PAGES = 64


def tiff_fields(path: Path) -> Iterator[str]:
    """Yield what the pages of a slide in a TIFF may tell; no pixel of them is read."""
    with Image.open(path, formats=("TIFF",)) as file:
        tags = file.tag_v2  # type: ignore[attr-defined]
        if not str(tags.get(_DESCRIPTION, "")).startswith(_APERIO.decode()):
            return
        for number in range(min(getattr(file, "n_frames", 1), _MOST_PAGES)):
            file.seek(number)
            tags = file.tag_v2  # type: ignore[attr-defined]
            text = str(tags.get(_DESCRIPTION, ""))
            yield from (f"text '{key}'" for key in _KEY.findall(text) if key in _TELLING)
            words = text.casefold().split()
            yield from (what for name, what in _PICTURES.items() if name in words)
            if (kind := _KINDS.get(int(tags.get(_SUBFILE, 0)))) is not None and number:
                yield kind


def dicom_fields(folder: Path) -> Iterator[str]:
    """Yield which pictures that may tell lie beside the levels of a slide; no pixel of them is read."""
    for file in sorted(folder.iterdir()):
        if file.is_file() and is_dicom(file):
            header = read_whole(file, force=False, without_pixels=True)
            if header.get("SOPClassUID") == WHOLE_SLIDE:
                kinds = header.get("ImageType") or ()
                yield from (what for kind, what in _OF_DICOM.items() if kind in kinds)
