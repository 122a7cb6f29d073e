"""Whether a PNG is whole: its checksums, and as many numbers as its header says; Pillow looks at neither."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from client.data.formats.inflate import InflateError, crc32, inflater, stored
from client.data.formats.square_pixels import require_square
from shared.errors import DataError
from shared.text.printable import printable

_HEAD = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3  # kinds of colour
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the kind of colour (PNG, 11.2.2)
_PASSES = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
"""Of Adam7 (PNG, 8.2): first column and step, first row and step."""
_PLAIN = {(1, 0): "1", (8, 0): "L", (8, 2): "RGB"}  # bits and kind of colour -> Pillow's mode
_NO_MATTER = {b"IHDR", b"IEND", b"pHYs", b"gAMA", b"sRGB", b"cHRM", b"iCCP", b"sBIT", b"bKGD", b"tIME"}
"""Parts that change no number: of printers, screens and clocks."""
_PIECE = 2**20
_AT_ONCE = 2**24  # bytes of rows that are kept; beyond, a picture is unpacked twice
_REMEDY = "Copy or save it again."


@dataclass(frozen=True)
class Depth:
    """How a PNG stores its pixels.

    Attributes:
        bits: Of a sample.
        colour: The kind of colour (PNG, 11.2.2).
    """

    bits: int
    colour: int

    @property
    def is_deep_colour(self) -> bool:
        """Whether there are 16 bits for each of several channels, of which Pillow keeps 8."""
        return self.bits == 16 and self.colour not in (_GREY, _PALETTE)

    @property
    def scale(self) -> int:
        """What Pillow multiplies a grey value of less than 8 bits with, so that white is 255."""
        return 255 // (2**self.bits - 1) if self.colour == _GREY and self.bits < 8 else 1


def require_sound(file: BinaryIO, path: Path) -> tuple[Depth | None, Image.Image | BinaryIO]:
    """Refuse a PNG that is damaged or not whole, and say how it stores its pixels; other files pass.

    Args:
        file: Opened, at its beginning; and left there.
        path: Its name, for the error.

    Returns:
        How it stores its pixels, None for another file; and the picture, so that it is unpacked once. Where
        there is more to know of it, that is a file with unpacked rows, to be opened; of a huge one the file.

    Raises:
        DataError: A checksum is wrong, there are fewer numbers than the header says, or parts stand twice.
    """
    if file.read(len(_HEAD)) != _HEAD:
        file.seek(0)
        return None, file
    rows: _Rows | None = None
    parts: list[bytes] = [_HEAD]
    try:
        for name, content, whole in _chunks(file, path):
            if name == b"IHDR" and len(content) == 13:
                _require(rows is None, "has two headers", path)
                rows = _Rows(content)
                _require(rows.needed > 0, "says that it has no pixels", path)
            if name == b"pHYs" and len(content) == 9:
                across, down = (int.from_bytes(content[at : at + 4], "big") for at in (0, 4))
                require_square(across, down, "pHYs", path)
            if name == b"IDAT" and rows is not None:
                _require(rows.add(content, len(parts)), "has its pixels in several places", path)
            else:
                parts.append(whole)
    except InflateError as error:
        raise DataError(f"is damaged ({error})", where=path, remedy=_REMEDY) from None
    file.seek(0)
    if rows is None:
        return None, file
    _require(
        rows.count >= rows.needed,
        f"holds {rows.count} of the {rows.needed} bytes that its header says",
        path,
    )
    return rows.depth, rows.unpacked(parts) or file


class _Rows:
    """The rows of a picture, unpacked; of a huge one they are only counted.

    Args:
        header: What IHDR holds.

    Attributes:
        depth: How it stores its pixels.
        needed: Bytes of all rows.
        count: Bytes that are there; no more than a picture needs are unpacked.
    """

    def __init__(self, header: bytes) -> None:
        self.depth, self._passes = Depth(header[8], header[9]), header[12]
        self._size = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
        self.needed, self.count = _bytes_of(header), 0
        self._unpacker = inflater()
        self._pieces: list[bytes] = []
        self._place: int | None = None

    def add(self, content: bytes, place: int) -> bool:
        """Unpack a part; say whether it follows the one before.

        Args:
            content: Packed.
            place: How many other parts stand before it.
        """
        follows = self._place in (None, place)
        self._place = place
        while content and not self._unpacker.eof and self.count <= self.needed:
            piece = self._unpacker.decompress(content, _PIECE)
            self.count += len(piece)
            content = self._unpacker.unconsumed_tail
            if self.needed <= _AT_ONCE:
                self._pieces.append(piece)
        return follows

    def unpacked(self, parts: list[bytes]) -> Image.Image | BinaryIO | None:
        """Return the picture, or where other parts say more of it a file whose rows are not packed.

        Args:
            parts: All others, as they stand in the file.

        Returns:
            None where there are too many rows.
        """
        if self.needed > _AT_ONCE or self._place is None:
            return None
        rows = stored(b"".join(self._pieces))
        mode = _PLAIN.get((self.depth.bits, self.depth.colour))
        if mode and not self._passes and all(part[4:8] in _NO_MATTER for part in parts[1:]):
            return Image.frombytes(mode, self._size, rows, "zip", mode, 0)
        pixels = b"IDAT" + rows
        whole = len(rows).to_bytes(4, "big") + pixels + crc32(pixels).to_bytes(4, "big")
        return BytesIO(b"".join([*parts[: self._place], whole, *parts[self._place :]]))


def _require(holds: bool, problem: str, path: Path) -> None:
    if not holds:
        raise DataError(problem, where=path, remedy=_REMEDY)


def _chunks(file: BinaryIO, path: Path) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield name, content and all bytes of each part; the checksums of what a picture needs are compared."""
    at = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(at)
    while len(head := file.read(8)) == 8:
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        _require(length <= size, "was cut short", path)
        content, checksum = file.read(length), file.read(4)
        if name[:1].isupper() and crc32(content, crc32(name)).to_bytes(4, "big") != checksum:
            part = printable(name.decode("latin-1"))
            raise DataError(
                f"is damaged: the checksum of its part {part} is wrong", where=path, remedy=_REMEDY
            )
        yield name, content, b"".join((head, content, checksum))
        if name == b"IEND":
            return


def _bytes_of(header: bytes) -> int:
    """Return how many bytes the rows of a picture have, each with one for its filter."""
    width, height = (int.from_bytes(header[at : at + 4], "big") for at in (0, 4))
    bits = header[8] * _SAMPLES.get(header[9], 0)
    passes = _PASSES if header[12] else ((0, 1, 0, 1),)
    sizes = [
        (max(0, -(-(width - left) // right)), max(0, -(-(height - top) // down)))
        for left, right, top, down in passes
    ]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns)
