"""How much a file may unpack to: looked at before memory is taken for what its header claims."""

from collections.abc import Sequence
from math import prod
from pathlib import Path

from shared.errors import DataError

MOST_VALUES = 2**31
RAW = 2  # one, and colours that share a sample (YBR_FULL_422)
RUN_LENGTHS = 128
DEFLATED = 1100  # bytes out of one byte: deflate reaches 1032, JPEG some hundred pixels
LZW = 4096
_BEYOND = 16  # piece / whole: pieces at the edges of a small picture reach beyond it
_SMALL_PIECE = 2**24  # bytes
CODED = 2**15  # JPEG 2000 and JPEG-LS: a black picture of any size is a few hundred bytes


def require_plausible(path: Path, shape: Sequence[int], itemsize: float, packing: int, held: int) -> None:
    """Refuse a header that claims more than its file can hold.

    Args:
        path: The file, for the error.
        shape: All axes that it claims.
        itemsize: Bytes of a number; an eighth where it is one bit.
        packing: How many bytes one byte of the file may stand for: `RAW`, `DEFLATED`, ...
        held: Bytes that the file has.

    Raises:
        DataError: An axis is negative, or the numbers are too many.
    """
    values = prod(int(length) for length in shape)
    claimed = " x ".join(str(int(length)) for length in shape)
    if any(length < 0 for length in shape):
        raise DataError(f"says that it holds {claimed} numbers", where=path, remedy="Its header is damaged.")
    if values * itemsize > held * packing or values > MOST_VALUES:
        raise DataError(
            f"says that it holds {claimed} numbers, too many for a file of {held} bytes",
            where=path,
            remedy="It was cut short, or its header is damaged: copy or export it again.",
        )


def require_fitting(path: Path, whole: float, piece: float) -> None:
    """Refuse a tile or chunk that is far larger than what it is a part of: it is unpacked as a whole.

    Args:
        path: The file, for the error.
        whole: Bytes of what is read.
        piece: Bytes of a tile or chunk of it.

    Raises:
        DataError: It is far larger.
    """
    if piece > max(whole * _BEYOND, _SMALL_PIECE):
        raise DataError(
            f"has pieces of {piece:.0f} bytes for a whole of {whole:.0f}",
            where=path,
            remedy="It is damaged, or made to fill the memory: save it again.",
        )
