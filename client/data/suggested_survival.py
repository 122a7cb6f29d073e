"""What a table says of the job that is to learn survival from it: its columns, their values, a horizon."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from client.data.kinds.cells import YES, is_missing
from client.data.kinds.image_columns import OF_ROWS, image_columns
from client.data.manifest.csv_files import read_table
from shared.errors import DataError

TIME, EVENT = "time", "event"
_MOST_VALUES = 20  # of a category: what has more looks like names or free text
_MOST_COLUMNS = 1024
_PLACES = {"site", "hospital", "centre", "center", "clinic", "institution", "institute", "fold", "split"}
_SHARE = 0.9  # of the times of events that lie before the horizon


def suggested_survival(path: Path) -> dict[str, Any]:
    """Return `[task]` of a survival job: every column that is a number or a category, and the horizon.

    What has one value in all rows is left out, and so is text with many values, and what says by its name, or
    by having one value at each hospital, to which hospital or fold a row belongs: a model would learn who
    treats whom.

    Args:
        path: The CSV.

    Raises:
        DataError: There is no time or event, or nothing to learn from.
    """
    header, rows = read_table(path)
    table = {
        name: [(cells[place] if place < len(cells) else "") for _, cells in rows]
        for place, name in enumerate(header)
    }
    for name, what in (
        (TIME, "the time until the event or the end of follow-up"),
        (EVENT, "1 where it came"),
    ):
        if name not in table:
            remedy = f"Name the column with {what} '{name}'. There are: {', '.join(header[:12])}."
            raise DataError(f"has no column '{name}'", where=path, remedy=remedy)
    others = {*OF_ROWS, *image_columns(path), *_of_places(table), TIME, EVENT, "mask", "label"}
    known = {name: _known(cells) for name, cells in table.items() if name not in others}
    numbers = {name for name, cells in known.items() if cells and all(map(_is_number, cells))}
    told = {name: sorted(set(cells)) for name, cells in known.items() if len(set(cells)) > 1}
    categories = {
        name: values for name, values in told.items() if name not in numbers and len(values) <= _MOST_VALUES
    }
    columns = [name for name in told if name in numbers or name in categories][:_MOST_COLUMNS]
    if not columns:
        raise DataError("has no column of numbers or of categories to learn from", where=path)
    categories = {name: values for name, values in categories.items() if name in columns}
    found: dict[str, Any] = {"columns": columns, "horizon": _horizon(table)}
    return found | ({"categories": categories} if categories else {})


def _of_places(table: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the columns that say to which hospital or fold a row belongs."""
    sites = table.get("site", ())
    for name, cells in table.items():
        is_named_so = bool(_PLACES & set(re.split(r"[^a-z]+", name.casefold())))
        follows = len(set(sites)) > 1 and len(set(zip(sites, cells, strict=True))) == len(set(sites))
        if is_named_so or (follows and len(set(cells)) > 1):
            yield name


def _known(cells: Sequence[str]) -> list[str]:
    return [cell for cell in cells if not is_missing(cell)]


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _horizon(table: Mapping[str, Sequence[str]]) -> float:
    """Return a time before which most events lie, of two digits."""
    pairs = zip(table[TIME], table[EVENT], strict=True)
    times = [float(time) for time, event in pairs if _is_number(time) and event.casefold() in YES]
    longest = float(np.quantile(times, _SHARE)) if times else 1.0
    return float(f"{max(longest, 1e-6):.2g}")
