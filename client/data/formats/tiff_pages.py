"""The pages of a TIFF: ITK takes the first's memory for each, and follows their chain in circles."""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from client.data.formats.limits import require_fitting
from shared.errors import DataError

_MOST = 2**16
_FAR = 2**62  # beyond the end of any file
_CLASSIC, _BIG = 42, 43
_SUBFILE, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _EXTRA = 254, 258, 262, 274, 277, 338
_FORM = (256, 257, 258, 277, 339)  # width, height, bits of a sample, samples of a pixel, kind of number
_TILE = (322, 323)  # width, height
_LOOK = (_PHOTOMETRIC, _ORIENTATION, _EXTRA)
_WHITE_IS_ZERO, _PALETTE = 0, 3
_KNOWN = (0, 1, 2, 3, 6)  # PhotometricInterpretation: grey (white or black is 0), RGB, palette, YCbCr
_NAMES = {
    4: "a transparency mask",
    5: "CMYK",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    32803: "a camera's raw colours",
}
_ALPHA = ((1,), (2,))
_WIDTHS = {3: "H", 4: "I", 16: "Q"}  # of the types of numbers that they may have
_WIDE = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes of types
_SIZES = {"H": 2, "I": 4, "Q": 8}  # bytes
_USUAL = {_SUBFILE: (0,), 277: (1,), 339: (1,), _ORIENTATION: (1,), _BITS: (1,)}
_MOST_SAMPLES = 16


@dataclass(frozen=True)
class Page:
    """How the pages of a TIFF store their pixels.

    Attributes:
        samples: Of a pixel.
        bits: Of a sample.
        is_palette: Whether the pixels are numbers of colours.
        is_negative: Whether white is 0.
        has_alpha: Whether the last sample says how opaque a pixel is.
    """

    samples: int
    bits: int
    is_palette: bool
    is_negative: bool
    has_alpha: bool


def require_pages(path: Path) -> tuple[Page, int]:
    """Return how the pages of a TIFF store their pixels, and how many there are.

    Smaller copies of a page (pyramids) do not count.

    Raises:
        DataError: They are of several sizes or kinds, lead in a circle, are to be turned, or have colours
            that ITK takes for others; or the file is not a TIFF, or was cut short.
    """
    with path.open("rb") as file:
        try:
            pages = _Pages(file, path)
            found = [form for at in pages.places() if (form := pages.form(at)) is not None]
        except (struct.error, OSError):
            raise DataError("was cut short, or is not a TIFF", where=path, remedy="Copy it again.") from None
    forms = {form for form, _ in found}
    if not found:
        raise DataError("has no page", where=path)
    if len(forms) > 1:
        raise DataError(
            "has pages of several sizes or kinds, which are not a volume",
            where=path,
            remedy="Save the page that is meant as a file of its own.",
        )
    return _page(found[0][1], path), len(found)


def _page(values: Mapping[int, tuple[int, ...]], path: Path) -> Page:
    kind, way = values.get(_PHOTOMETRIC, (1,))[0], values[_ORIENTATION][0]
    if kind not in _KNOWN:
        name = _NAMES.get(kind, f"of the kind {kind}")
        raise DataError(f"has colours that are {name}", where=path, remedy="Save it as grey or RGB.")
    if way != 1:
        raise DataError(
            f"says that it is to be turned (orientation {way}), which programs follow or not",
            where=path,
            remedy="Save it upright, and its mask as well.",
        )
    return Page(
        values[_SAMPLES][0],
        values[_BITS][0],
        kind == _PALETTE,
        kind == _WHITE_IS_ZERO,
        values.get(_EXTRA, ()) in _ALPHA and values[_SAMPLES][0] in (2, 4),
    )


class _Pages:
    """The directories of a file, one for each page."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path, self._size = file, path, path.stat().st_size
        self._order = {b"II": "<", b"MM": ">"}.get(file.read(2), "")
        version = self._number(2, "H") if self._order else 0
        if version not in (_CLASSIC, _BIG):
            raise DataError("is not a TIFF", where=path)
        big = version == _BIG
        self._count, self._entry, self._offset = ("Q", 20, "Q") if big else ("H", 12, "I")
        self._first = self._number(8 if big else 4, self._offset)

    def places(self) -> list[int]:
        """Return where the directories begin."""
        found: dict[int, None] = {}
        at = self._first
        while at:
            if at in found or len(found) >= _MOST:
                raise DataError("has pages that lead in a circle", where=self._path, remedy="Save it anew.")
            found[at] = None
            at = self._number(self._entries(at) + self._entry * self._number(at, self._count), self._offset)
        return list(found)

    def form(self, at: int) -> tuple[tuple[tuple[int, ...], ...], dict[int, tuple[int, ...]]] | None:
        """Return size and kind of a page, and all that was looked at; None for a smaller copy."""
        values: dict[int, tuple[int, ...]] = dict(_USUAL)
        for number in range(self._number(at, self._count)):
            entry = self._entries(at) + self._entry * number
            tag, kind = self._number(entry, "H"), self._number(entry + 2, "H")
            if self._number(entry + 4, self._offset) * _WIDE.get(kind, 1) > self._size:
                raise DataError("has a field longer than the file", where=self._path, remedy="Copy it again.")
            if tag in (*_FORM, *_LOOK, *_TILE, _SUBFILE) and kind in _WIDTHS:
                values[tag] = self._values(entry + 4, _WIDTHS[kind])
        if set(_TILE) <= values.keys():
            pixel = values[_SAMPLES][0] * max(values[_BITS]) / 8
            whole, piece = (
                math.prod(values.get(tag, (0,))[0] for tag in tags) for tags in (_FORM[:2], _TILE)
            )
            require_fitting(self._path, whole * pixel, piece * pixel)
        if values[_SUBFILE][0] & 1:
            return None
        return tuple(values.get(tag, ()) for tag in _FORM), values

    def _values(self, at: int, width: str) -> tuple[int, ...]:
        """Return the numbers of an entry, which stand in it where they fit, or else where it says."""
        count = min(self._number(at, self._offset), _MOST_SAMPLES)
        at += _SIZES[self._offset]
        if count * _SIZES[width] > _SIZES[self._offset]:
            at = self._number(at, self._offset)
        return tuple(self._number(at + place * _SIZES[width], width) for place in range(count)) or (0,)

    def _entries(self, at: int) -> int:
        return at + _SIZES[self._count]

    def _number(self, at: int, form: str) -> int:
        self._file.seek(min(at, _FAR))
        return int(struct.unpack(self._order + form, self._file.read(_SIZES[form]))[0])
