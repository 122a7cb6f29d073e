"""Tables of what was said of rows, as files."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence

from shared.tasks.answers import Cell
from shared.web.tables import safe_cell


def csv_table(
    rows: Sequence[Mapping[str, Cell]], first: Sequence[str] = (), last: Sequence[str] = ()
) -> bytes:
    """Return rows as CSV; a figure that is not defined is empty.

    Classes have the names that a researcher gave them, and people open tables in spreadsheets: no cell begins
    a formula, which could send what stands beside it elsewhere.

    Args:
        rows: Their cells by column; the columns come in the order in which rows bring them.
        first: Columns that come before, whether a row has them or not.
        last: Columns that come after, if a row has them.
    """
    names = dict.fromkeys((*first, *(name for row in rows for name in row)))
    columns = [*(name for name in names if name not in last), *(name for name in last if name in names)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([safe_cell(column) for column in columns])
    writer.writerows([_cell(row.get(column, "")) for column in columns] for row in rows)
    return text.getvalue().encode()


def _cell(value: Cell) -> str:
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return str(safe_cell(value))


def json_table(rows: Sequence[Mapping[str, Cell]]) -> bytes:
    """Return rows as JSON, a list of objects; a figure that is not defined is null."""
    found = [{name: None if _is_undefined(value) else value for name, value in row.items()} for row in rows]
    return json.dumps(found, indent=1, ensure_ascii=False).encode()


def _is_undefined(value: Cell) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
