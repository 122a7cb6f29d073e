"""What a table says of the job that is to learn survival from it: its columns, their values, a horizon."""

from pathlib import Path
from typing import Any

import numpy as np

from client.data.kinds.cells import YES
from client.data.suggested_columns import Table, is_number, seen_columns, table_of
from shared.errors import DataError
from shared.text.numbers import read_number

TIME, EVENT = "time", "event"
_SHARE = 0.9  # of the times of events that lie before the horizon


def suggested_survival(path: Path) -> dict[str, Any]:
    """Return `[task]` of a survival job: every column that is a number or a category, and the horizon.

    Args:
        path: The CSV.

    Raises:
        DataError: There is no time or event, or nothing to learn from.
    """
    table = table_of(path)
    for name, what in (
        (TIME, "the time until the event or the end of follow-up"),
        (EVENT, "1 where it came"),
    ):
        if name not in table:
            remedy = f"Name the column with {what} '{name}'. There are: {', '.join([*table][:12])}."
            raise DataError(f"has no column '{name}'", where=path, remedy=remedy)
    seen = seen_columns(path, table, (TIME, EVENT))
    return {"columns": seen["columns"], "horizon": _horizon(path, table)} | seen


def _horizon(path: Path, table: Table) -> float:
    """Return a time before which most events lie, of two digits."""
    pairs = zip(table[TIME], table[EVENT], strict=True)
    times = [read_number(time) for time, event in pairs if is_number(time) and event.casefold() in YES]
    if not times:
        found = next((time for time in table[TIME] if time and not is_number(time)), "")
        remedy = "Write decimals with a point." if "," in found else "An event has 1 in the column 'event'."
        shown_time = f", such as '{found}'" if found else ""
        raise DataError(f"no event has a time that is a number{shown_time}", where=path, remedy=remedy)
    return float(f"{max(float(np.quantile(times, _SHARE)), 1e-6):.2g}")
