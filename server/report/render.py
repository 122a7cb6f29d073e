"""A report as one HTML file: it needs no network, no script and nothing beside it."""

import base64
from importlib import metadata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from server.report.charts import svg
from server.report.content import Estimate, Report, Table, TableCell, as_table, between, number
from shared.text.printable import printable


def html(report: Report) -> str:
    """Return the page. Whatever a job, a site or a run says is escaped in it."""
    environment = Environment(
        loader=PackageLoader("server.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
    )
    environment.filters["base64"] = _base64
    environment.globals.update(shown=shown, numeric=_numeric, digits=_digits, as_table=as_table)
    loader = environment.loader
    assert loader is not None  # noqa: S101 (given above)
    style = loader.get_source(environment, "report.css")[0]
    drawn = {
        (section.name, figure.name): Markup(svg(figure))  # noqa: S704 (made here, its texts escaped by Vega)
        for section in report.sections
        for figure in section.figures
    }
    return environment.get_template("report.html.j2").render(
        report=report,
        style=Markup(style),  # noqa: S704 (a file of ours)
        drawn=drawn,
        version=metadata.version("wardround"),
    )


def shown(cell: TableCell, digits: int = 3) -> str | Markup:
    """Return a cell of a table; a dash where there is none."""
    if isinstance(cell, Estimate):
        if cell.low is None or cell.value is None:
            return number(cell.value)
        return Markup("{} <small>{}</small>").format(number(cell.value), between(cell.low, cell.high))
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.{digits}f}"
    return printable(cell)


def _numeric(table: Table) -> set[int]:
    """Return the columns of numbers, which stand to the right."""
    columns = range(len(table.columns))
    return {
        place
        for place in columns
        if any(isinstance(row[place], int | float | Estimate) for row in table.rows)
        and not any(isinstance(row[place], str) for row in table.rows)
    }


def _digits(table: Table) -> dict[int, int]:
    """Return the digits of each column of numbers: one where they are large."""
    columns = range(len(table.columns))
    largest = {
        place: max((abs(cell) for row in table.rows if isinstance(cell := row[place], float)), default=0.0)
        for place in columns
    }
    return {place: 1 if value >= 10 else 3 for place, value in largest.items()}


def _base64(content: Any) -> str:
    return base64.b64encode(content if isinstance(content, bytes) else content.encode()).decode()
