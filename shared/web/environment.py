"""How templates become HTML: everything is escaped, and what somebody else wrote stays on its line."""

import base64
from importlib import resources
from typing import Any

from jinja2 import BytecodeCache, ChoiceLoader, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup

from shared.text.plural import many
from shared.text.printable import printable
from shared.web.moments import moment_of, relative, span, utc
from shared.web.tables import Estimate, Table, TableCell, as_table, between, number


class _Compiled(BytecodeCache):
    """Keeps what templates were compiled to for all environments of this process: each would compile anew."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give a template what it was compiled to, if it still reads the same."""
        if bucket.key in self._known:
            bucket.bytecode_from_string(self._known[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what a template was compiled to."""
        self._known[bucket.key] = bucket.bytecode_to_string()


_compiled = _Compiled()


def make_environment(package: str, folder: str) -> Environment:
    """Return an environment with the templates of a package's folder, and those of every page.

    Text is escaped twice: for HTML, and letters that no line should hold become visible (`printable`).
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, folder), PackageLoader("shared.web", "templates")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
        bytecode_cache=_compiled,
    )
    environment.filters.update(
        base64=_base64, utc=utc, relative=relative, span=span, iso=_iso, size=size, number=number
    )
    environment.globals.update(shown=shown, numeric=_numeric, digits=_digits, as_table=as_table, many=many)
    return environment


def stylesheet() -> str:
    """Return the style of all pages, for a page that needs nothing beside it."""
    return (resources.files("shared.web") / "static" / "wardround.css").read_text(encoding="utf-8")


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


def size(count: float) -> str:
    """Return a number of bytes as people say it: ``1.4 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return many(round(count), "byte") if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _iso(value: object) -> str:
    moment = moment_of(value)
    return moment.isoformat() if moment else ""


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
