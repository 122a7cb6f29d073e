"""What a cell of a manifest says: numbers, and what stands for a number that is missing."""

import math

import numpy as np

from client.data.manifest.rows import Record
from shared.errors import DataError
from shared.text.numbers import read_number

MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "missing", "unknown", "."})
YES = frozenset({"1", "1.0", "true", "yes"})
_NO = frozenset({"0", "0.0", "false", "no"})


def is_missing(cell: str) -> bool:
    """Say whether a cell stands for a value that nobody knows."""
    return cell.casefold() in MISSING


def number_in(record: Record, column: str) -> float:
    """Return the number in a cell; not a number where it is missing.

    Raises:
        DataError: It is something else, or has more digits before the point than float32 holds.
    """
    cell = record.cells.get(column, "")
    if is_missing(cell):
        return math.nan
    try:
        value = read_number(cell)
    except ValueError:
        comma = "Write decimals with a point." if "," in cell else None
        raise DataError(f"the {column} '{cell}' is not a number", remedy=comma) from None
    if not math.isfinite(value) or abs(value) > float(np.finfo(np.float32).max):
        raise DataError(f"the {column} '{cell}' is out of range")
    return value


def yes_or_no(record: Record, column: str) -> bool:
    """Return whether a cell says yes.

    Raises:
        DataError: It says neither.
    """
    cell = record.cells.get(column, "").casefold()
    if cell not in YES | _NO:
        raise DataError(f"the {column} '{cell}' is neither 0 nor 1")
    return cell in YES
