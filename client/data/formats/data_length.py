"""How many numbers a MetaImage holds: where they are fewer or begin elsewhere, ITK makes some up or hangs."""

import re
from collections.abc import Mapping
from math import prod
from pathlib import Path

from client.data.formats.inflate import InflateError, inflater
from shared.errors import DataError
from shared.text.names import shown

_TYPES = {  # MetaImage: bytes of a number
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_LONG", "MET_ULONG", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}
_NRRD_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "signed short", "int16", "int16_t", "ushort", "unsigned short", "uint16"), 2),
    **dict.fromkeys(("uint16_t", "short int"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32"), 4),
    **dict.fromkeys(("uint32_t", "float"), 4),
    **dict.fromkeys(("longlong", "int64", "int64_t", "uint64", "uint64_t", "double"), 8),
}
_WRITTEN_TOGETHER = {name.replace(" ", ""): name for name in ("old min", "old max", "line skip", "byte skip")}
_PIECE = 2**20
_GZIP = b"\x1f\x8b"
_EITHER = 47  # zlib's or gzip's head, for zlib
_REMEDY = "Its header is wrong, or it was not copied as a whole: save it anew."


def require_metaimage_data(path: Path, fields: Mapping[str, str], begin: int, beside: Path | None) -> None:
    """Refuse a MetaImage whose numbers are not as many as its header says, or begin where nobody knows.

    Args:
        path: The header.
        fields: What it says.
        begin: The first byte behind the header.
        beside: The file of the numbers; None where they follow the header.

    Raises:
        DataError: They are more or fewer, damaged, or the header says that they begin within itself.
    """
    skipped = _whole(fields.get("HeaderSize", "0"), "HeaderSize", path)
    if beside is None and skipped not in (0, -1, begin):
        raise DataError(
            f"says that its numbers begin at byte {skipped}, and its header ends at byte {begin}",
            where=path,
            remedy="Take HeaderSize out of it, or save it anew.",
        )
    needed = _needed(fields, path)
    if needed is None or fields.get("BinaryData", "True").lower() == "false":
        return  # ITK refuses it
    file, first = (path, begin) if beside is None else (beside, max(0, skipped))
    if fields.get("CompressedData", "False").lower() == "true":
        length = fields.get("CompressedDataSize")
        found = _inflated(file, first, None if length is None else _whole(length, "size", path), needed, path)
    elif skipped < 0 and beside is not None:
        return  # the last bytes of the file count
    else:
        found = file.stat().st_size - first
    if found != needed:
        less = "more" if found > needed else "less"
        raise DataError(
            f"holds {less} than the {needed} bytes of numbers that its header says",
            where=path,
            remedy=_REMEDY,
        )


def require_nrrd_data(path: Path, fields: Mapping[str, str], begin: int, beside: Path | None) -> None:
    """Refuse an NRRD with more numbers than its header says, or damaged ones; of fewer ITK says so.

    Args:
        path: The header.
        fields: What it says, by names in small letters.
        begin: The first byte behind the header.
        beside: The file of the numbers; None where they follow the header.

    Raises:
        DataError: There are more, they are damaged, or they stand for others: numbers of which only the ends
            are given.
    """
    fields = {_WRITTEN_TOGETHER.get(name, name): value for name, value in fields.items()}
    if {"old min", "old max"} & fields.keys():
        raise DataError(
            "scales its numbers (old min, old max), which is not read",
            where=path,
            remedy="Save the scaled numbers.",
        )
    size = _NRRD_TYPES.get(fields.get("type", "").lower())
    if size is None:
        return  # ITK refuses it
    needed = size * prod(_whole(text, "sizes", path) for text in fields.get("sizes", "").split())
    lines, skip = (_whole(fields.get(f"{name} skip", "0"), f"{name} skip", path) for name in ("line", "byte"))
    first = _behind_lines(beside or path, begin if beside is None else 0, lines)
    packing = fields.get("encoding", "").lower()
    if packing == "raw":  # of a skip below 0 the last bytes count, whatever stands before
        found = needed if skip < 0 else (beside or path).stat().st_size - first - skip
    elif packing in ("gzip", "gz"):  # bytes are skipped after unpacking
        if skip < 0:
            raise DataError("skips all but the last of packed bytes, which is not read", where=path)
        found = _inflated(beside or path, first, None, needed + skip, path) - skip
    else:
        with (beside or path).open("rb") as file:
            file.seek(first + max(0, skip))
            found = _written_out(file.read(), packing, size)
    if found > needed:
        raise DataError(
            f"holds more than the {needed} bytes of numbers that its header says", where=path, remedy=_REMEDY
        )


def _behind_lines(file: Path, begin: int, lines: int) -> int:
    """Return the byte behind the first lines."""
    if lines <= 0:
        return begin
    with file.open("rb") as source:
        source.seek(begin)
        for _ in range(lines):
            if not source.readline():
                break
        return source.tell()


def _written_out(text: bytes, packing: str, size: int) -> int:
    """Return the bytes of numbers that stand in a text; 0 of what ITK refuses."""
    if packing in ("ascii", "text", "txt"):
        return size * len(text.replace(b",", b" ").split())
    return len(b"".join(text.split())) // 2 if packing == "hex" else 0


def _needed(fields: Mapping[str, str], path: Path) -> int | None:
    """Return the bytes of all numbers; None where their type is not known here."""
    size = _TYPES.get(re.sub("_ARRAY$", "", fields.get("ElementType", "")))
    lengths = [_whole(text, "DimSize", path) for text in fields.get("DimSize", "").split()]
    channels = _whole(fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels", path)
    return None if size is None else size * channels * prod(lengths)


def _inflated(file: Path, begin: int, length: int | None, needed: int, path: Path) -> int:
    """Return how many bytes the packed numbers unpack to, and one more than needed where they are more.

    Raises:
        DataError: They are damaged.
    """
    unpacker, count = inflater(_EITHER), 0
    with file.open("rb") as source:
        source.seek(begin)
        packed = source.read()  # a length is believed only where the file has it
    if length is not None and length >= 0:
        packed = packed[:length]
    try:
        while packed and not unpacker.eof and count <= needed:
            count += len(unpacker.decompress(packed, _PIECE))
            packed = unpacker.unconsumed_tail
    except InflateError as error:
        raise DataError(f"is damaged ({error})", where=path, remedy=_REMEDY) from None
    if count == needed and unpacker.eof and unpacker.unused_data.startswith(_GZIP):
        return needed + 1  # gzip's files may stand one behind the other
    if count == needed and not unpacker.eof:  # the checksum stands at the end
        raise DataError("was cut short", where=path, remedy=_REMEDY)
    return min(count, needed + 1)


def _whole(text: str, name: str, path: Path) -> int:
    if not re.fullmatch(r"-?\d{1,18}", text.strip()):
        raise DataError(f"has '{shown(text)}' for {name}, which is not a number", where=path, remedy=_REMEDY)
    return int(text)
