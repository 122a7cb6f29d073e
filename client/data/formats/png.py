"""Whether a PNG is whole: its checksums, and as many numbers as its header says; Pillow looks at neither."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shared.errors import DataError
from shared.text.printable import printable

_HEAD = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3  # kinds of colour
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the kind of colour (PNG, 11.2.2)
_PASSES = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
"""Of Adam7 (PNG, 8.2): first column and step, first row and step."""
_PIECE = 2**20
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


def require_sound(file: BinaryIO, path: Path) -> Depth | None:
    """Refuse a PNG that is damaged or not whole, and say how it stores its pixels; other files pass.

    Args:
        file: Opened, at its beginning; and left there.
        path: Its name, for the error.

    Raises:
        DataError: A checksum is wrong, or there are fewer numbers than the header says.
    """
    if file.read(len(_HEAD)) != _HEAD:
        file.seek(0)
        return None
    unpacker, count, needed, depth = zlib.decompressobj(), 0, None, None
    for name, content in _chunks(file, path):
        if name == b"IHDR" and len(content) == 13:
            needed, depth = _bytes_of(content), Depth(content[8], content[9])
        if name == b"IDAT":
            try:
                count += _unpacked(unpacker, content, needed or 0)
            except zlib.error as error:
                raise DataError(f"is damaged ({error})", where=path, remedy=_REMEDY) from None
    file.seek(0)
    if needed is not None and count < needed:
        raise DataError(
            f"holds {count} of the {needed} bytes that its header says", where=path, remedy=_REMEDY
        )
    return depth


def _chunks(file: BinaryIO, path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of what a picture needs, the checksums compared."""
    size = path.stat().st_size
    while len(head := file.read(8)) == 8:
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if length > size:
            raise DataError("was cut short", where=path, remedy=_REMEDY)
        content, checksum = file.read(length), file.read(4)
        if not name[:1].isupper():
            continue
        if zlib.crc32(name + content).to_bytes(4, "big") != checksum:
            part = printable(name.decode("latin-1"))
            raise DataError(
                f"is damaged: the checksum of its part {part} is wrong", where=path, remedy=_REMEDY
            )
        yield name, content
        if name == b"IEND":
            return


def _unpacked(unpacker: "zlib._Decompress", content: bytes, most: int) -> int:
    """Return how many bytes a piece unpacks to; no more than a picture needs are unpacked."""
    count = 0
    while content and not unpacker.eof and count <= most:
        count += len(unpacker.decompress(content, _PIECE))
        content = unpacker.unconsumed_tail
    return count


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
