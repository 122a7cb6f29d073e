"""Tables beside a manifest, with several rows for one image or one patient: boxes, points, vectors."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.data.manifest.csv_files import by_column, file_below, is_there, read_table
from client.data.manifest.identity import CUT_REMEDY, cut, cut_ids, require_unmarked
from client.data.manifest.rows import Record
from shared.errors import DataError
from shared.text.plural import many

_PATIENT = ("patient", "bag")


@dataclass(frozen=True)
class SideTable:
    """The rows of a CSV, by what they belong to.

    Attributes:
        path: The CSV.
        columns: Its columns.
        by: The column that says what a row belongs to: 'image', or a patient's.
        rows: Image file or patient -> the rows, in the file's order.
    """

    path: Path
    columns: tuple[str, ...]
    by: str
    rows: Mapping[Path | str, list[dict[str, str]]]

    @classmethod
    def read(cls, path: Path) -> "SideTable":
        """Read a CSV that has a column `image`, or else `patient` or `bag`.

        Raises:
            DataError: It can't be read, or has none of these columns.
        """
        columns, table = read_table(path)
        by = next((name for name in ("image", *_PATIENT) if name in columns), None)
        if by is None:
            raise DataError("has no column 'image' or 'patient'", where=path)
        rows: dict[Path | str, list[dict[str, str]]] = defaultdict(list)
        for one in table:
            row = by_column(columns, one, path)
            rows[_key(path, row[by], by)].append(row)
        if by != "image" and (lost := cut_ids(str(name) for name in rows)):
            raise DataError(cut(min(lost)), where=path, remedy=CUT_REMEDY)
        return cls(path, columns, by, dict(rows))

    def require_matches(self, records: Sequence[Record]) -> list[str]:
        """Refuse a table that belongs to none of the rows of a manifest.

        Returns:
            In words, that some rows belong to nothing while rows of the manifest have none: names may differ.

        Raises:
            DataError: Not one of them has a row here.
        """
        if self.rows and records and not any(self.of(record) for record in records):
            example = next(iter(self.rows))
            raise DataError(
                f"has no row of any {'image' if self.by == 'image' else 'patient'} of the manifest; it has "
                f"'{example}'",
                where=self.path,
            )
        return self._doubts(records)

    def _doubts(self, records: Sequence[Record]) -> list[str]:
        # A table may be of several sites: an image that lies there is nothing to doubt, nor are others' rows
        # where each row of the manifest has its own.
        known = {name for record in records for name in (record.patient, *record.images)}
        lost = [
            key for key in self.rows if key not in known and not (isinstance(key, Path) and is_there(key))
        ]
        without = sum(not self.of(record) for record in records)
        if not lost or not without:
            return []
        rows, others = many(sum(len(self.rows[key]) for key in lost), "row"), many(without, "row")
        what = "image is not there" if self.by == "image" else "patient is not in the manifest"
        return [
            f"{rows} of {self.path.name} whose {what}, such as '{self._shown(lost[0])}', while {others} of "
            f"the manifest {'has' if without == 1 else 'have'} none: is the name another one?"
        ]

    def _shown(self, key: Path | str) -> str:
        return os.path.relpath(key, self.path.parent) if isinstance(key, Path) else key

    def of(self, record: Record) -> list[dict[str, str]]:
        """Return the rows of a record of the manifest."""
        if self.by == "image":
            return [row for image in record.images for row in self.rows.get(image, [])]
        return self.rows.get(record.patient, [])


def _key(path: Path, cell: str, by: str) -> Path | str:
    try:
        if by != "image":
            require_unmarked(cell, by)
            return cell
        return file_below(path.parent, cell)
    except ValueError as error:
        raise DataError(str(error), where=path) from None


def side_table_path(record: Record, name: str) -> Path:
    """Return where a table lies: beside the manifest, or where the column of its name says."""
    return record.file(name) if record.cells.get(name) else record.below(name)
