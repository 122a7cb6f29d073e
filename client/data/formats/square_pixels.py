"""Pixels that are not square: a picture of them is read as if they were, so it is refused."""

from pathlib import Path
from typing import Any

from shared.errors import DataError

_SQUARE = 0.02  # relative: resolutions are whole numbers, 96 and 97 dots per inch are meant as one


def require_square(across: Any, down: Any, said: str, path: Path) -> None:
    """Refuse pixels whose height and width differ.

    Args:
        across: Pixels for each unit of length along a row, or their height; 0 or no number: it is not said.
        down: Pixels for each unit along a column, or their width.
        said: Where the file says it.
        path: The file.

    Raises:
        DataError: They differ.
    """
    across, down = _number(across), _number(down)
    if across > 0 and down > 0 and abs(across - down) > _SQUARE * max(across, down):
        raise DataError(
            f"says that its pixels are not square ({said}: {across:g} and {down:g}), and would be read as if "
            "they were",
            where=path,
            remedy="Resample it, and its mask as well, to square pixels; or take out what it says, if it is "
            "about a printer.",
        )


def _number(said: Any) -> float:
    try:
        return float(said)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
