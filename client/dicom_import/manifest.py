"""The manifest of an imported dataset: pseudonyms, files, and what the rules want of headers and a table."""

import csv
import io
from collections.abc import Iterable, Sequence

from client.dicom_import.choose import Row
from client.dicom_import.place import Placing
from client.dicom_import.rules import Rules


def columns_of(rules: Rules) -> tuple[str, ...]:
    """Return the header of the manifest."""
    own = {"study": ("study",), "patient": ()}.get(rules.rows, ("study", "series"))
    return ("patient", *rules.columns, *own, *rules.keep, *(rules.table.columns if rules.table else ()))


def row_of(row: Row, rules: Rules, placing: Placing, cells: Sequence[str]) -> tuple[str, ...]:
    """Return a row's cells.

    Args:
        row: What was chosen.
        rules: The hospital's.
        placing: Knows where files lie.
        cells: Of the hospital's table.
    """
    names, first = placing.names, row.first
    study = names.study(first.study)
    own = {"study": (study,), "patient": ()}.get(rules.rows, (study, row.rule))
    return (
        names.patient(row.patient),
        *(placing.cell(series) for series in row.series.values()),
        *own,
        *(names.kept(first.header, name) for name in rules.keep),
        *cells,
    )


def csv_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    """Return a table in UTF-8."""
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode("utf-8", "replace")
