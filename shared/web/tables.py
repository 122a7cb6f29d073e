"""Tables and figures of reports and pages: numbers with their interval, a dash where one has no meaning."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.metrics.figures import Cell, Figure


@dataclass(frozen=True)
class Estimate:
    """A figure of a test with its interval of 95 %, where there is one."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.value is None:
            return number(self.value)
        return f"{number(self.value)} ({between(self.low, self.high)})"


TableCell = Cell | Estimate
_BEGINS_FORMULA = {"=", "+", "-", "@", "\t", "\r", "\n"}
_FIGURE = re.compile(r"-?[\d.]*( to -?[\d.]+)?")  # a minus before one begins no formula


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: Of its CSV file: letters, digits and hyphens.
        title: What it is of.
        columns: Their headings.
        rows: Cells: texts, numbers, figures with their intervals, None where a figure has no meaning.
        notes: What is to be known of it, below.
        strong: Rows that are sums over the others, from the end.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    notes: Sequence[str] = ()
    strong: int = 0

    def as_csv(self) -> str:
        """Return the table as CSV: figures as exact as they are known, an interval in two further columns."""
        wide = {place for row in self.rows for place, cell in enumerate(row) if isinstance(cell, Estimate)}
        text = io.StringIO()
        writer = csv.writer(text)
        headings = [
            [name, f"{name} low", f"{name} high"] if place in wide else [name]
            for place, name in enumerate(self.columns)
        ]
        writer.writerow([safe_cell(name) for names in headings for name in names])
        for row in self.rows:
            cells = [_parts(cell) if place in wide else [cell] for place, cell in enumerate(row)]
            writer.writerow(["" if cell is None else safe_cell(cell) for own in cells for cell in own])
        return text.getvalue()


def as_table(figure: Figure) -> Table:
    """Return the points of a figure as a table: lines side by side where they share what is along."""
    series = list(dict.fromkeys(point[0] for point in figure.points))
    pairs = {(point[0], point[1]): point[2] for point in figure.points}
    along = list(dict.fromkeys(point[1] for point in figure.points))
    shared = len(pairs) == len(figure.points) and len(series) * len(along) <= 2 * len(pairs)
    if figure.kind == "matrix" or (shared and len(series) > 1):
        rows: list[Sequence[TableCell]]
        if figure.kind == "matrix":
            rows = [[one, *(pairs.get((one, name)) for name in along)] for one in series]
            columns = [figure.columns[0], *(str(name) for name in along)]
        else:
            rows = [[at, *(pairs.get((one, at)) for one in series)] for at in along]
            columns = [figure.columns[1], *(str(one) for one in series)]
        return Table(figure.name, figure.title, columns, rows)
    if figure.kind == "dots":
        return Table(
            figure.name,
            figure.title,
            (figure.columns[0], figure.columns[2]),
            [(p[0], p[2]) for p in figure.points],
        )
    return Table(figure.name, figure.title, figure.columns, figure.points)


def number(value: Any, digits: int = 3) -> str:
    """Return a number as people read it; a dash where it is undefined."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def between(low: float | None, high: float | None) -> str:
    """Return an interval; a dash where there is none."""
    return "–" if low is None or high is None else f"{number(float(low))} to {number(float(high))}"


def _parts(cell: TableCell) -> list[Cell]:
    return [cell.value, cell.low, cell.high] if isinstance(cell, Estimate) else [cell, None, None]


def safe_cell(cell: TableCell) -> TableCell:
    """Return a cell that no spreadsheet takes for a formula."""
    is_text = isinstance(cell, str) and not _FIGURE.fullmatch(cell)
    return f"'{cell}" if is_text and str(cell)[:1] in _BEGINS_FORMULA else cell
