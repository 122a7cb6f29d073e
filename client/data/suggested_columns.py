"""What a table says of the columns that a network may see: numbers, and categories with their values."""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from client.data.kinds.cells import is_missing
from client.data.kinds.image_columns import OF_ROWS, image_columns
from client.data.manifest.csv_files import read_table
from shared.errors import DataError
from shared.text.numbers import read_number

Table = Mapping[str, Sequence[str]]
"""The cells of each column."""

_MOST_VALUES = 20  # of a category: what has more looks like names or free text
_MOST_COLUMNS = 1024
_PLACES = {"site", "hospital", "centre", "center", "clinic", "institution", "institute", "fold", "split"}
LABEL = "label"


def table_of(path: Path) -> Table:
    """Return the cells of each column of a CSV.

    Raises:
        DataError: It can't be read.
    """
    header, rows = read_table(path)
    return {
        name: [(cells[place] if place < len(cells) else "") for _, cells in rows]
        for place, name in enumerate(header)
    }


def seen_columns(path: Path, table: Table, predicted: Collection[str]) -> dict[str, Any]:
    """Return `columns` that are a number or a category, and the `categories`, if there are any.

    What has one value in all rows is left out, and so is text with many values, and what says by its name, or
    by having one value at each hospital, to which hospital or fold a row belongs: a model would learn who
    treats whom.

    Args:
        path: The CSV.
        table: What is in it.
        predicted: Columns that are to be predicted.

    Raises:
        DataError: There is nothing to learn from.
    """
    others = {*OF_ROWS, *image_columns(path), *_of_places(table), *predicted, "mask", LABEL}
    known = {name: _known(cells) for name, cells in table.items() if name not in others}
    told = {name: sorted(set(cells)) for name, cells in known.items() if len(set(cells)) > 1}
    categories = {
        name: values
        for name, values in told.items()
        if not are_numbers(table[name]) and len(values) <= _MOST_VALUES
    }
    columns = [name for name in told if are_numbers(table[name]) or name in categories][:_MOST_COLUMNS]
    if not columns:
        raise DataError("has no column of numbers or of categories to learn from", where=path)
    categories = {name: values for name, values in categories.items() if name in columns}
    return {"columns": columns} | ({"categories": categories} if categories else {})


def suggested_record(path: Path, *, predicts_numbers: bool) -> dict[str, Any]:
    """Return tables of a job that learns from a table without images; what is predicted is a person's to say.

    Args:
        path: The CSV.
        predicts_numbers: The last column of numbers is taken as what is predicted, in place of `label`.

    Raises:
        DataError: There is nothing to predict, or to learn from.
    """
    table = table_of(path)
    if not predicts_numbers:
        classes = sorted(set(_known(table.get(LABEL, ()))))
        if not classes:
            raise DataError(f"has no column '{LABEL}', and the task learns from labels", where=path)
        task: dict[str, Any] = {"classes": classes, **seen_columns(path, table, (LABEL,))}
    else:
        numbers = [name for name in seen_columns(path, table, ())["columns"] if are_numbers(table[name])]
        if not numbers:
            raise DataError("has no column of numbers to predict", where=path)
        task = {"targets": numbers[-1:], **seen_columns(path, table, numbers[-1:])}
    return {"task": {**task, "image": False}, "model": {"name": "mlp"}, "data": None}


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


def are_numbers(cells: Sequence[str]) -> bool:
    """Say whether all cells that are not missing are numbers, of which there are some."""
    known = _known(cells)
    return bool(known) and all(map(is_number, known))


def is_number(cell: str) -> bool:
    """Say whether a cell is a finite number."""
    try:
        return math.isfinite(read_number(cell))
    except ValueError:
        return False
