"""A manifest with a row for each group of another's rows: a bag or a series of their images."""

import csv
import io
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.data.manifest.csv_files import by_column, read_table
from client.data.manifest.rows import manifest_path
from shared.errors import DataError
from shared.files import write_new
from shared.text.names import suggestion
from shared.text.numbers import read_number

BETWEEN = "|"
Cells = Mapping[str, str]


@dataclass(frozen=True)
class Grouping:
    """How rows become groups.

    Attributes:
        by: Rows with one value in this column are a group.
        joined: Columns of files. Of others, those that are the same in each whole group are kept.
        order: The column of numbers by which the rows of a group are ordered; None keeps the file's order.
        label: The column that becomes `label`; None keeps the one of that name.
    """

    by: str = "patient"
    joined: Sequence[str] = ("image",)
    order: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Grouped:
    """What was written.

    Attributes:
        rows: Of the new manifest.
        sizes: Smallest and largest number of rows of a group.
        left_out: Columns that differ within a group.
    """

    path: Path
    rows: int
    sizes: tuple[int, int]
    left_out: list[str]


def write_grouped(manifest: Path, out: Path, how: Grouping) -> Grouped:
    """Write a manifest, readable by its owner alone, whose cells name all files of a group: 'a.png|b.png'.

    Args:
        manifest: The CSV, or the folder that holds it.
        out: The new CSV.
        how: Which rows are a group.

    Raises:
        DataError: There is no such column, the label differs within a group, an order is no number, a file is
            not named, or `out` is there already.
    """
    path = manifest_path(manifest)
    header, groups = _groups(path, how)
    kept = [
        name
        for name in header
        if name not in how.joined and all(len({row[name] for row in rows}) == 1 for rows in groups.values())
    ]
    if how.label is not None and how.label not in kept:
        raise DataError(f"has several values of '{how.label}' for one {how.by}", where=path)
    sources = {name: name for name in kept}
    if how.label is not None:
        sources = {name: name for name in kept if name != how.label} | {"label": how.label}
    found = []
    for rows in groups.values():
        ordered = _ordered(rows, how.order, path)
        row = {name: ordered[0][source] for name, source in sources.items()}
        found.append(row | {name: _joined(ordered, name, path, out) for name in how.joined})
    _write(out, found)
    sizes = [len(rows) for rows in groups.values()]
    left_out = [name for name in header if name not in (*kept, *how.joined)]
    return Grouped(out, len(found), (min(sizes), max(sizes)), left_out)


def _groups(path: Path, how: Grouping) -> tuple[Sequence[str], Mapping[str, list[Cells]]]:
    header, lines = read_table(path)
    for name in (how.by, *how.joined, *filter(None, (how.order, how.label))):
        if name not in header:
            raise DataError(f"has no column '{name}'; {suggestion(name, header)}", where=path)
    groups: dict[str, list[Cells]] = defaultdict(list)
    for number, cells in lines:
        row = by_column(header, (number, cells), path)
        if not row[how.by]:
            raise DataError(f"the {how.by} of row {number} is empty", where=path)
        groups[row[how.by]].append(row)
    if not groups:
        raise DataError("has no rows", where=path)
    return header, groups


def _ordered(rows: list[Cells], order: str | None, path: Path) -> list[Cells]:
    if order is None:
        return rows
    try:
        return sorted(rows, key=lambda row: read_number(row[order]))
    except ValueError as error:
        raise DataError(f"has no number in '{order}' ({error})", where=path) from None


def _joined(rows: Sequence[Cells], name: str, path: Path, out: Path) -> str:
    """Return the files of a group as they are called from the new manifest."""
    files = [row[name] for row in rows]
    if odd := [file for file in files if not file or BETWEEN in file]:
        raise DataError(f"does not name one file in '{name}', but '{odd[0]}'", where=path)
    return BETWEEN.join(Path(os.path.relpath(path.parent / file, out.parent)).as_posix() for file in files)


def _write(out: Path, rows: Sequence[Mapping[str, str]]) -> None:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        write_new(out, stream.getvalue().encode())
    except FileExistsError:
        raise DataError("is there already, and nothing is overwritten", where=out) from None
    except OSError as error:
        raise DataError(f"can't be written ({error.strerror})", where=out) from None
