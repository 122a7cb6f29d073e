"""CSV files as spreadsheets write them: what is unambiguous is read, the rest is named for what it is."""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from shared.errors import DataError
from shared.text.plural import many

Row = tuple[int, list[str]]
"""(line in the file, cells)"""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UTF32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
_WORKBOOK = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_SEPARATOR = re.compile(r'"?sep=(.)"?[,;\t]*', re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")
_QUOTED = re.compile(r'"[^"]*"')
_FORMULA = re.compile(r'="([^"]*)"')  # how spreadsheets keep the zeros of ="001"
_BLANKS = dict.fromkeys(map(ord, "\u00a0\u2007\u202f"), " ")
_UNSEEN = dict.fromkeys(
    [0x00AD, 0x200B, 0x2060, 0xFEFF, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
"""Marks that no reader sees: soft hyphens, blanks without width, the direction of writing."""
_SEPARATORS = (";", "\t")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_SAVE = "Save it as CSV in UTF-8, separated by commas."


def normal(text: str) -> str:
    """Return text in the one form in which it is compared.

    That is Unicode's NFC, without blanks around it and without marks that nobody sees; all blanks are one.
    """
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFC", text).translate(_BLANKS).translate(_UNSEEN).strip()


def _cells(row: list[str]) -> list[str]:
    line = "".join(row)
    if line.isascii() and "=" not in line:  # as most rows are: nothing to look up in each cell
        return [text.strip() for text in row]
    return [_cell(text) for text in row]


def _cell(text: str) -> str:
    found = _FORMULA.fullmatch(text) if text.startswith("=") else None
    return normal(found[1] if found else text)


def read_table(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    """Read a CSV: its header, and the rows that are not empty; text is in one form (`normal`).

    Commas separate, or, where the header has none, semicolons or tabs; a first line `sep=;` says which.
    Columns without a name that are empty everywhere are left out.

    Raises:
        DataError: It can't be read, is not text, or a column has no name or another's.
    """
    text = _text(path)
    separator, skipped = _separator(text)
    lines = io.StringIO(text, newline="")
    for _ in range(skipped):
        lines.readline()
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        header = [normal(name) for name in next(filter(any, reader), [])]
        rows = [(reader.line_num + skipped, _cells(cells)) for cells in reader]
    except csv.Error as error:
        raise DataError(f"is not a CSV ({error})", where=path, remedy=_SAVE) from None
    rows = [(number, cells) for number, cells in rows if any(cells)]
    header, rows = _without_empty_columns(header, rows)
    _require_names(header, path)
    return tuple(header), rows


def by_column(columns: Sequence[str], row: Row, path: Path) -> dict[str, str]:
    """Return the cells of a row by their columns.

    Raises:
        DataError: There are more or fewer than columns, as where decimals are written with a comma.
    """
    number, cells = row
    if len(cells) != len(columns):
        raise DataError(
            f"row {number} has {many(len(cells), 'cell')}, but the header has {len(columns)}", where=path
        )
    return dict(zip(columns, cells, strict=True))


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", where=path) from None
    if content.startswith(_WORKBOOK):
        raise DataError("is a workbook (.xlsx, .ods, .xls), not a CSV", where=path, remedy=_SAVE)
    if content.startswith(_UTF32):
        return _decoded(content, "utf-32", path)
    if content.startswith(_UTF16):
        return _decoded(content, "utf-16", path)
    if b"\0" in content[:1000]:
        raise DataError("is not text, or text in UTF-16 without its mark", where=path, remedy=_SAVE)
    return _decoded(content, "utf-8-sig", path)


def _decoded(content: bytes, encoding: str, path: Path) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"is not in UTF-8: byte 0x{content[error.start]:02x} in line {line}", where=path, remedy=_SAVE
        ) from None


def _separator(text: str) -> tuple[str, int]:
    """Return what separates the cells, and how many lines come before the header."""
    first = _LINE_END.split(text.lstrip("\r\n"), maxsplit=1)[0]
    told = _SEPARATOR.fullmatch(first)
    if told is not None:
        return told[1], 1
    first = _QUOTED.sub("", first)
    found = [separator for separator in _SEPARATORS if separator in first]
    if "," in first or len(found) != 1:
        return ",", 0
    return found[0], 0


def _without_empty_columns(header: list[str], rows: list[Row]) -> tuple[list[str], list[Row]]:
    """Leave out what spreadsheets add at the right: columns without a name and without a cell."""
    width = len(header)
    while width and not header[width - 1] and not any("".join(cells[width - 1 :]) for _, cells in rows):
        width -= 1
    cut = [(number, cells[:width] if not any(cells[width:]) else cells) for number, cells in rows]
    return header[:width], cut


def _require_names(header: list[str], path: Path) -> None:
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"has two columns '{twice}'", where=path)
    if "" in header:
        raise DataError(f"has no name for its column {header.index('') + 1}", where=path)


def file_below(folder: Path, name: str) -> Path:
    """Return a file that a cell names, as it is called on this disk.

    Backslashes count as slashes where no file is named with one; a name in another Unicode form is found.

    Raises:
        ValueError: It is a path of Windows, with a drive or a server.
    """
    if _WINDOWS.match(name):
        raise ValueError(f"'{name}' is a path of Windows: give it relative to the manifest's folder")
    path = folder / name
    if is_there(path):
        return path
    if "\\" in name:
        path = folder / name.replace("\\", "/")
    return path if is_there(path) else _in_another_form(path)


def is_there(path: Path) -> bool:
    """Say if there is such a file; what can't be a file's name names none."""
    return os.path.exists(path)  # noqa: PTH110 (twice as fast, for thousands of rows)


def _in_another_form(path: Path) -> Path:
    """Return the file whose name differs in its Unicode form alone; the path itself where there is none."""
    for form in ("NFC", "NFD"):
        other = Path(unicodedata.normalize(form, str(path)))
        if is_there(other):
            return other
    if is_there(path.parent) and path.parent.is_dir():
        wanted = normal(path.name)
        found = [file for file in path.parent.iterdir() if normal(file.name) == wanted]
        if len(found) == 1:
            return found[0]
    return path


def missing(path: Path) -> str:
    """Say that a file is missing, and what may be meant instead."""
    if is_there(path.parent) and path.parent.is_dir():
        close = [file.name for file in path.parent.iterdir() if file.name.casefold() == path.name.casefold()]
        if close:
            return f"the file is missing; there is '{close[0]}', and upper and lower case count"
    elif not is_there(path.parent):
        return "the file is missing, and so is its folder"
    return "the file is missing"
