"""Whether names may be burned into the pixels of a series: what its headers say, and whether text is seen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.data.check.burned_in_text import TextFinder
from client.data.formats.dicom.bytes import read_whole
from client.data.formats.dicom.cine import is_cine, read_cine
from client.data.images.readers import read_image
from client.dicom_import.headers import Header, text

_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"  # secondary capture, also of many frames
_MODALITIES = ("US", "IVUS", "ES", "XC", "OT", "SC", "GM", "DOC")  # screens and photographs
_SCREENS = ("SCREEN SAVE", "SCREENSHOT", "DOSE", "REPORT")
_OVERLAYS = range(0x6000, 0x6100, 2)
_BIT_POSITION, _OVERLAY_DATA = 0x0102, 0x3000


def may_be_burned_in(headers: Sequence[Header]) -> str:
    """Return why text may stand in the pixels of a series, as far as headers tell; empty where it may not."""
    for header in headers:
        if text(header, "BurnedInAnnotation").upper() == "YES":
            return "BurnedInAnnotation is YES"
        if text(header, "SOPClassUID").startswith(_CAPTURES):
            return "a screen capture"
        if text(header, "Modality").upper() in _MODALITIES:
            return f"modality {text(header, 'Modality').upper()}"
        kind = text(header, "ImageType").upper()
        if any(word in kind for word in _SCREENS):
            return "a picture of a screen"
    return ""


def has_overlay_in_pixels(path: Path) -> bool:
    """Say whether what is drawn over an image may stand in unused bits of its pixels (PS3.3 C.9.2, to 2004).

    Raises:
        DataError: The file is damaged.
    """
    dataset = read_whole(path, without_pixels=True)
    groups = {tag.group for tag in list(dataset.keys())} & set(_OVERLAYS)
    places = {(group, _BIT_POSITION) for group in groups if (group, _BIT_POSITION) in dataset}
    return any((group, _OVERLAY_DATA) not in dataset for group in groups) or any(
        any(dataset.get_item(place).value or b"")  # bytes, as they stand in the file
        for place in places
    )


def seen_in(paths: Sequence[Path]) -> bool:
    """Say whether text is seen in the first, middle or last image of a series.

    Raises:
        DataError: An image can't be read.
    """
    return TextFinder().finds(_picture(path) for path in _some(paths))


def _some(paths: Sequence[Path]) -> list[Path]:
    return [paths[place] for place in sorted({0, len(paths) // 2, len(paths) - 1})]


def _picture(path: Path) -> NDArray[np.float32]:
    """Return one picture of a file, (C, rows, columns); the middle slice of a volume."""
    if is_cine(path):
        return read_cine(path, lambda count, times: [0]).frames[0]
    array = read_image(path).array
    return array if array.ndim == 3 else array[..., array.shape[-1] // 2]
