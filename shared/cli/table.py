"""Tables of names and facts on a terminal of any width, or in a pipe: nothing in them is ever cut."""

import shutil
from collections.abc import Iterable, Sequence

from shared.text.printable import printable

_GAP = "  "
_NO_TERMINAL = 1_000_000  # columns: whoever reads a pipe wants a line for each row


def table_lines(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a table's lines; where a row is wider than the terminal, each row becomes a block of lines.

    Args:
        titles: Of the columns.
        rows: Their cells; texts of somebody else are escaped here.
    """
    from rich.cells import cell_len

    table = [list(titles), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    if sum(widths) + len(_GAP) * (len(widths) - 1) > shutil.get_terminal_size((_NO_TERMINAL, 24)).columns:
        return [line for row in table[1:] for line in _block(titles, row)]
    return [
        _GAP.join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in table
    ]


def _block(titles: Sequence[str], row: Sequence[str]) -> list[str]:
    """Return a row as its first cell, and what is known of it below."""
    return [
        row[0],
        *(f"{_GAP}{title}: {cell}" for title, cell in list(zip(titles, row, strict=True))[1:] if cell),
    ]
