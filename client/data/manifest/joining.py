"""The columns of a second table (clinic, laboratory, genes) beside the rows of a manifest."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.data.manifest.csv_files import is_there, read_table
from client.data.manifest.rows import manifest_path
from shared.errors import DataError
from shared.files import write_new
from shared.text.names import suggestion

Cells = Mapping[str, str]
_NO_FILES = frozenset({"patient", "bag", "label", "site", "split"})


@dataclass(frozen=True)
class Joined:
    """What was written.

    Attributes:
        rows: Written.
        matched: Of them, those that have a row in the table.
        unused: Rows of the table that belong to none of the manifest.
        added: Columns of the table that were added.
        kept: Columns that both have: the manifest's cells stand.
    """

    path: Path
    rows: int
    matched: int
    unused: int
    added: Sequence[str]
    kept: Sequence[str]


def join(
    manifest: Path, table: Path, out: Path, *, by: str = "patient", theirs: str = "", drop: bool = False
) -> Joined:
    """Write a manifest with the columns of a table; rows of the manifest without one there have empty cells.

    Args:
        manifest: A manifest, or the folder that holds one.
        table: A CSV with at most one row for each key.
        out: A new file. Names of files are written as seen from its folder.
        by: Column of the manifest that says to which row of the table a row belongs.
        theirs: The same column in the table, where it has another name.
        drop: Leave out the rows of the manifest that have none in the table.

    Raises:
        DataError: A file can't be read or written, lacks the column, names a key twice, or nothing fits.
    """
    path = manifest_path(manifest)
    header, rows = _cells_of(path, by)
    their_header, their_rows = _cells_of(table, theirs or by)
    known = _by_key(table, their_rows, theirs or by)
    added = [name for name in their_header if name not in header and name != (theirs or by)]
    if not added:
        raise DataError("has no column that the manifest lacks", where=table)
    used = {row[by] for row in rows} & known.keys()
    if not used:
        raise DataError(f"none of its '{theirs or by}' is a '{by}' of {path}", where=table)
    own = [row for row in rows if row[by] in used or not drop]
    written = [
        there | {name: known.get(row[by], {}).get(name, "") for name in added}
        for row, there in zip(own, moved(own, path.parent, out.parent), strict=True)
    ]
    write_rows(out, [*header, *added], written)
    kept = [name for name in their_header if name in header and name != (theirs or by)]
    matched = sum(row[by] in used for row in rows)
    return Joined(out, len(written), matched, len(known) - len(used), added, kept)


def _cells_of(path: Path, key: str) -> tuple[Sequence[str], list[dict[str, str]]]:
    header, rows = read_table(path)
    if key not in header:
        raise DataError(f"has no column '{key}'; {suggestion(key, header)}", where=path)
    for number, cells in rows:
        if len(cells) != len(header):
            problem = f"has {len(cells)} cells, but the header has {len(header)}"
            raise DataError(problem, where=f"{path}, row {number}")
    return header, [dict(zip(header, cells, strict=True)) for _, cells in rows]


def _by_key(path: Path, rows: Sequence[Cells], key: str) -> dict[str, Cells]:
    found: dict[str, Cells] = {}
    for row in rows:
        if not row[key]:
            continue
        if row[key] in found:
            remedy = "Give a table with one row for each, or name another column with --by or --theirs."
            raise DataError(f"has '{row[key]}' twice in its column '{key}'", where=path, remedy=remedy)
        found[row[key]] = row
    return found


def moved(rows: Sequence[Cells], old: Path, new: Path) -> list[dict[str, str]]:
    """Return the rows of a manifest in one folder, whose names of files lead there from another folder.

    A folder for each patient or class has the name of its patient or class: these columns stay, since a
    patient by another name is on another side of the split. So does a column of which few cells name files.
    """
    if old.resolve() == new.resolve():
        return [dict(row) for row in rows]
    files = {name for name in rows[0] if name not in _NO_FILES and _names_files(rows, name, old)}
    return [
        {name: _seen_from(cell, old, new) if name in files else cell for name, cell in row.items()}
        for row in rows
    ]


def _names_files(rows: Sequence[Cells], column: str, folder: Path) -> bool:
    filled = [row[column] for row in rows if row[column]]
    return 2 * sum(_are_there(cell, folder) for cell in filled) > len(filled)


def _are_there(cell: str, folder: Path) -> bool:
    return all(part and is_there(folder / part) for part in cell.split("|"))


def _seen_from(cell: str, old: Path, new: Path) -> str:
    """Return a cell, whose parts between '|' may name files; absolute names stay."""
    parts = cell.split("|")
    if any(Path(part).is_absolute() for part in parts) or not _are_there(cell, old):
        return cell
    return "|".join(os.path.relpath((old / part).resolve(), new.resolve()) for part in parts)


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Cells]) -> None:
    """Write a new manifest.

    Raises:
        DataError: It is there already, or can't be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        write_new(path, text.getvalue().encode())
    except FileExistsError:
        raise DataError("is there already, and nothing is overwritten", where=path) from None
    except OSError as error:
        raise DataError(f"can't be written ({error.strerror})", where=path) from None
