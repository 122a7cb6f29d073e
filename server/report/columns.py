"""Tables on a terminal of any width: cut into several where they must be, and never in a name or a number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from shared.text.printable import printable
from shared.web.tables import Table as Content
from shared.web.tables import TableCell, number

_WIDEST = 10_000


@dataclass(frozen=True)
class Column:
    """One column: a cell for each row, which may have several lines."""

    heading: str
    cells: Sequence[str]
    left: bool = False

    @property
    def width(self) -> int:
        """Letters that it needs, with a space on either side and its border."""
        return self.letters + 3

    @property
    def letters(self) -> int:
        """Letters of its longest line."""
        return max(len(line) for text in (self.heading, *self.cells) for line in text.split("\n"))


def fitting(groups: Sequence[Sequence[Column]], width: int) -> list[list[Column]]:
    """Return all columns as one group where they fit into a width; else each group cut where it must be."""
    every = [column for group in groups for column in group]
    if sum(column.width for column in every) < width:
        return [every]
    found: list[list[Column]] = []
    for group in groups:
        found.append([])
        for column in group:
            if found[-1] and sum(other.width for other in (*found[-1], column)) >= width:
                found.append([])
            found[-1].append(column)
    return found


def table_of(columns: Sequence[Column], *, dim: int = 0, strong: int = 0) -> Table:
    """Return columns as a table.

    Args:
        columns: Of the same length.
        dim: Rows before the strong ones that are of less interest.
        strong: Rows at the end that are sums over the others.
    """
    table = Table(caption_justify="left")
    for column in columns:
        justify: Literal["left", "right"] = "left" if column.left else "right"
        table.add_column(escape(column.heading), justify=justify, no_wrap=True, min_width=column.letters)
    rows = list(zip(*(column.cells for column in columns), strict=True))
    for place, row in enumerate(rows):
        left = len(rows) - strong - place  # rows to come before the strong ones
        if left == 0:
            table.add_section()
        style = "bold" if left <= 0 else "dim" if left <= dim else None
        table.add_row(*map(escape, row), style=style)
    return table


def print_whole(console: Console, table: Table) -> None:
    """Print a table of which nothing is cut, also where it is wider than the terminal."""
    table.width = Measurement.get(console, console.options.update(width=_WIDEST), table).maximum
    console.print(table, crop=False)


def print_table(console: Console, table: Content) -> None:
    """Print a table, whole at any width."""
    columns = [
        Column(
            printable(name),
            [_cell(row[place]) for row in table.rows],
            left=place == 0 or any(isinstance(row[place], str) for row in table.rows),
        )
        for place, name in enumerate(table.columns)
    ]
    first, rest = columns[0], columns[1:]
    for number_, group in enumerate(fitting([rest], console.width - first.width)):
        drawn = table_of([first, *group], strong=table.strong)
        drawn.title = escape(printable(table.title)) if number_ == 0 else None
        print_whole(console, drawn)
    for note in table.notes:
        console.print(printable(note), soft_wrap=True, highlight=False, markup=False)


def _cell(cell: TableCell) -> str:
    return printable(number(cell) if isinstance(cell, float) or cell is None else cell)
