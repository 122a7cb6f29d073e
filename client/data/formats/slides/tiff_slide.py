"""Slides in a TIFF: tifffile finds the levels and their tiles, Pillow unpacks them."""

import io
import re
import zlib
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.data.formats.library_messages import warnings_heard
from client.data.formats.slides.slide import Level, Slide
from shared.errors import DataError

try:
    import tifffile
except ImportError:
    tifffile = None

_PLAIN = (1, 8, 32946)  # as they are, deflate
_JPEG = 7
_JPEG_2000_YCBCR, _JPEG_2000 = 33003, (33003, 33005, 34712)  # Aperio's, the others' (one of them in RGB)
_RGB = 2  # PhotometricInterpretation
_NO_TRANSFORM = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"  # APP14: the channels are RGB
_ACROSS, _DOWN, _UNIT, _PROFILE = 282, 283, 296, 34675
_UNITS = {2: 25_400.0, 3: 10_000.0}  # micrometres of an inch, a centimetre
_APERIO = re.compile(r"\bMPP\s*=\s*([0-9.]+)")
_OME = {"nm": 1e-3, "µm": 1.0, "\u03bcm": 1.0, "um": 1.0, "mm": 1e3}
_SIZE = re.compile(r'\bPhysicalSize([XY])(Unit)?="([^"]*)"')
_LARGEST_TILE = 2**25  # pixels
_WHITE = 255
_DIFFERENCES = 2  # Predictor: of each pixel to the one before


class TiffSlide(Slide):
    """A TIFF whose first image has levels."""

    def __init__(self, file: Any, path: Path) -> None:
        self._file = file
        if not file.series:
            raise DataError("was cut short, or has no picture", where=path, remedy="Copy it again.")
        pages = [level.keyframe for level in file.series[0].levels]
        self.has_profile = _PROFILE in pages[0].tags
        finest = _mpp(file, pages[0])
        levels = [
            Level(
                (page.imagelength, page.imagewidth),
                (
                    finest[0] * pages[0].imagelength / page.imagelength,
                    finest[1] * pages[0].imagewidth / page.imagewidth,
                ),
                page,
            )
            for page in pages
        ]
        super().__init__(path, sorted(levels, key=lambda level: -level.shape[0]))
        for page in pages:
            _require_read(page, path)

    @classmethod
    def of(cls, path: Path) -> Self:
        """Open a file."""
        if tifffile is None:
            raise DataError(
                "is a whole slide, and what reads it is not installed",
                where=path,
                remedy="Install the extra: pip install 'wardround[slides]'.",
            )
        with warnings_heard():
            file = tifffile.TiffFile(path)
            try:
                return cls(file, path)
            except BaseException:
                file.close()
                raise

    def close(self) -> None:
        """See the base class."""
        self._file.close()

    def read(self, level: Level, top: int, left: int, rows: int, columns: int) -> NDArray[np.uint8]:
        """See the base class."""
        page = level.data
        height, width = _tile_shape(page)
        across = -(-page.imagewidth // width)
        part = np.empty((rows, columns, 3), np.uint8)
        for row in range(top // height, -(-(top + rows) // height)):
            for column in range(left // width, -(-(left + columns) // width)):
                tile = self._tile(page, row * across + column)
                above, before = row * height - top, column * width - left
                into = part[max(0, above) : above + height, max(0, before) : before + width]
                into[:] = tile[max(0, -above) :, max(0, -before) :][: len(into), : into.shape[1]]
        return part

    def _tile(self, page: Any, number: int) -> NDArray[np.uint8]:
        height, width = _tile_shape(page)
        at, length = page.dataoffsets[number], page.databytecounts[number]
        if not length:  # a scanner leaves out what it has not seen
            return np.full((height, width, 3), _WHITE, np.uint8)
        handle = self._file.filehandle
        handle.seek(at)
        packed = handle.read(length)
        if len(packed) < length:
            raise DataError("was cut short", where=self.path, remedy="Copy it again.")
        below = page.imagelength - number // -(-page.imagewidth // width) * height
        rows = height if page.is_tiled else min(height, below)  # the last strip ends early
        tile = _unpacked(page, packed, rows)
        if tile.shape[0] < rows or tile.shape[1:] != (width, 3):
            raise DataError(
                f"has a tile of {tile.shape}, not of {height} x {width} in colour",
                where=self.path,
                remedy="Copy or convert it again.",
            )
        return tile


def _tile_shape(page: Any) -> tuple[int, int]:
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _require_read(page: Any, path: Path) -> None:
    height, width = _tile_shape(page)
    packing = int(page.compression)
    problem = ""
    if (page.samplesperpixel, page.bitspersample, int(page.planarconfig)) != (3, 8, 1):
        problem = f"has {page.samplesperpixel} channels of {page.bitspersample} bits, and slides are RGB of 8"
    elif height * width > _LARGEST_TILE:
        problem = f"is stored in parts of {height} x {width} pixels, too large to be read one by one"
    elif packing not in (*_PLAIN, _JPEG, *_JPEG_2000) or int(page.predictor) not in (1, _DIFFERENCES):
        problem = f"is packed in a way that is not read ({getattr(page.compression, 'name', packing)})"
    if problem:
        raise DataError(problem, where=path, remedy="Convert it to a TIFF with JPEG tiles and levels.")


def _plain(page: Any, packed: bytes, rows: int) -> NDArray[np.uint8]:
    """Return the pixels of a tile, fewer rows where it was cut short."""
    width = _tile_shape(page)[1]
    if int(page.compression) != _PLAIN[0]:
        unpacker = zlib.decompressobj()
        packed = unpacker.decompress(packed, 3 * rows * width + 1)  # one more: on to the checksum
        if not unpacker.eof:
            raise ValueError("a tile was cut short, or is longer than it says")
    found = min(rows, len(packed) // (3 * width))
    pixels = np.frombuffer(packed, np.uint8, 3 * found * width).reshape(found, width, 3)
    return pixels if int(page.predictor) == 1 else np.cumsum(pixels, axis=1, dtype=np.uint8)


def _unpacked(page: Any, packed: bytes, rows: int) -> NDArray[np.uint8]:
    packing = int(page.compression)
    if packing in _PLAIN:
        return _plain(page, packed, rows)
    if packing == _JPEG:
        tables = page.jpegtables or b"\xff\xd8\xff\xd9"
        told = _NO_TRANSFORM if int(page.photometric) == _RGB else b""
        packed = b"".join((tables[:2], told, tables[2:-2], packed[2:]))
    formats = ("JPEG",) if packing == _JPEG else ("JPEG2000",)
    with Image.open(io.BytesIO(packed), formats=formats) as file:
        if max(file.size) > max(_tile_shape(page)):
            return np.empty((*file.size[::-1], 0), np.uint8)  # its shape says what is wrong
        if packing == _JPEG_2000_YCBCR and file.mode == "RGB":  # its channels are named wrongly
            return np.asarray(Image.merge("YCbCr", file.split()).convert("RGB"))
        return np.asarray(file.convert("RGB"))


def _mpp(file: Any, page: Any) -> tuple[float, float]:
    """Return the micrometres between rows and columns of the finest level; 0 where it does not say."""
    text = page.description or ""
    if file.is_svs:
        aperio = _APERIO.search(text)
        size = float(aperio[1]) if aperio else 0.0
        return size, size
    if file.is_ome:
        said = {(axis, bool(unit)): value for axis, unit, value in reversed(_SIZE.findall(text))}
        down, across = (
            float(said.get((axis, False), 0)) * _OME.get(said.get((axis, True), "µm"), 0.0) for axis in "YX"
        )
        return down, across
    unit = _UNITS.get(int(page.tags[_UNIT].value) if _UNIT in page.tags else 0)
    found = [page.tags[tag].value if tag in page.tags else (0, 1) for tag in (_DOWN, _ACROSS)]
    if unit is None or not all(above and below for above, below in found):
        return 0.0, 0.0
    down, across = (unit * below / above for above, below in found)
    return down, across
