"""A table of the hospital whose columns stand beside the images: labels, ages, what was found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from client.data.manifest.csv_files import normal, read_table
from client.dicom_import.choose import Row
from client.dicom_import.headers import text
from client.dicom_import.rules import TableRule
from shared.errors import DataError
from shared.text.names import suggestion

_OF_HEADER = {
    "accession_number": "AccessionNumber",
    "patient_id": "PatientID",
    "study_uid": "StudyInstanceUID",
}


class HospitalTable:
    """Finds the cells of a row.

    Args:
        rule: `[table]` of the rules; None where there is none.
        cells: By what finds them.
    """

    def __init__(self, rule: TableRule | None, cells: Mapping[str, tuple[str, ...]]) -> None:
        self._rule, self._cells = rule, cells

    @classmethod
    def read(cls, path: Path | None, rule: TableRule | None) -> Self:
        """Read the table.

        Raises:
            DataError: It is missing, lacks a column, or has two rows that differ for one study or patient.
        """
        if (path is None) != (rule is None):
            given, lacking = (
                ("--table", "[table] in the rules") if rule is None else ("[table]", "--table FILE")
            )
            raise DataError(f"{given}: needs {lacking}")
        if path is None or rule is None:
            return cls(None, {})
        header, rows = read_table(path)
        for name in (rule.column, *rule.columns):
            if name not in header:
                raise DataError(f"has no column '{name}'; {suggestion(name, header)}", where=path)
        places = [header.index(name) for name in rule.columns]
        found: dict[str, tuple[str, ...]] = {}
        for number, cells in rows:
            if len(cells) != len(header):
                raise DataError("has another number of cells than the header", where=f"{path}, row {number}")
            key, own = cells[header.index(rule.column)], tuple(cells[place] for place in places)
            if key and found.setdefault(key, own) != own:
                raise DataError(
                    f"says another thing of one {rule.by} than a row above", where=f"{path}, row {number}"
                )
        return cls(rule, found)

    def cells(self, row: Row) -> tuple[str, ...]:
        """Return a row's cells.

        Raises:
            DataError: The table has no row for it.
        """
        if self._rule is None:
            return ()
        key = normal(text(row.first.header, _OF_HEADER[self._rule.by]))
        if key not in self._cells:
            raise DataError(f"has no row in the table ({self._rule.by})")
        return self._cells[key]
