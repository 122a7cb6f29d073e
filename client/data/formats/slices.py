"""Which slice of a file of several."""

from pathlib import Path

from shared.errors import DataError

_REMEDY = "Write its number, from 1, into the column `kspace_slice`."


def one_of(count: int, number: int | None, path: Path) -> int:
    """Return the index of a slice by its number from 1; None: there is one.

    Raises:
        DataError: There is no such slice, or several and none is named.
    """
    if number is None and count > 1:
        raise DataError(f"holds {count} slices, and the row does not say which", where=path, remedy=_REMEDY)
    number = 1 if number is None else number
    if not 1 <= number <= count:
        raise DataError(f"has no slice {number}: it holds {count}", where=path, remedy=_REMEDY)
    return number - 1
