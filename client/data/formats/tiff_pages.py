"""The pages of a TIFF: a chain of directories, which ITK follows wherever it leads."""

import struct
from pathlib import Path
from typing import BinaryIO

from shared.errors import DataError

_MOST = 2**16
_FAR = 2**62  # beyond the end of any file
_CLASSIC, _BIG = 42, 43


def require_pages(path: Path) -> None:
    """Refuse a TIFF whose chain of directories leads in a circle, or never ends.

    Raises:
        DataError: It does; or the file is no TIFF.
    """
    with path.open("rb") as file:
        head = file.read(16).ljust(16, b"\0")
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        version = struct.unpack(f"{order}H", head[2:4])[0] if order else 0
        if version not in (_CLASSIC, _BIG):
            raise DataError("is no TIFF", where=path)
        big = version == _BIG
        at = struct.unpack(f"{order}Q", head[8:])[0] if big else struct.unpack(f"{order}I", head[4:8])[0]
        seen: set[int] = set()
        while at:
            if at in seen or len(seen) >= _MOST:
                raise DataError("has pages that lead in a circle", where=path, remedy="Save it anew.")
            seen.add(at)
            try:
                at = _next(file, at, str(order), big=big)
            except (struct.error, OSError):
                raise DataError("was cut short", where=path, remedy="Copy it again.") from None


def _next(file: BinaryIO, at: int, order: str, *, big: bool) -> int:
    """Return where the directory behind the one at this place begins; 0 behind the last."""
    counted, entry, offset = ("Q", 20, "Q") if big else ("H", 12, "I")
    found = _number(file, at, order + counted)
    return _number(file, at + struct.calcsize(order + counted) + entry * found, order + offset)


def _number(file: BinaryIO, at: int, form: str) -> int:
    file.seek(min(at, _FAR))
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])
