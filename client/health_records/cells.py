"""What a database answers, as the text that stands in a table."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from client.health_records.settings import CohortTable
from shared.errors import DataError

MOST_ROWS = 1_000_000
MOST_CHARACTERS = 2**28  # of all rows together
_DATE = re.compile(r"(\d{4}([-/.])\d\d?\2\d\d?|\d\d?([-/.])\d\d?\3\d{4})([ T].*)?", re.DOTALL)
Found = tuple[tuple[str, ...], Iterator[Sequence[object]]]
"""Names of columns, and rows as a driver gives them."""


class Rows:
    """Rows as a database gives them; more than a dataset can have are refused before they fill the memory.

    Args:
        query: The file of the query, for errors.
    """

    def __init__(self, query: Path) -> None:
        self._query = query
        self._characters = 0
        self.rows: list[Sequence[object]] = []

    def add(self, rows: Iterable[Sequence[object]]) -> None:
        """Take rows, one after the other.

        Raises:
            DataError: They are too many, or too long.
        """
        for row in rows:
            self._characters += sum(len(value) for value in row if isinstance(value, str | bytes))
            if len(self.rows) == MOST_ROWS:
                raise DataError(f"gives more than {MOST_ROWS:,} rows", where=self._query)
            if self._characters > MOST_CHARACTERS:
                raise DataError(f"gives more than {MOST_CHARACTERS:,} characters", where=self._query)
            self.rows.append(row)


@dataclass(frozen=True)
class Answer:
    """The answer of a query.

    Attributes:
        columns: Their names.
        rows: Their cells, as text; empty where nothing is known.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    @classmethod
    def of(cls, columns: Sequence[str], rows: Iterable[Sequence[object]], query: Path) -> "Answer":
        """Return an answer as text.

        Args:
            columns: Their names.
            rows: Values as a driver gives them.
            query: The file of the query, for errors.

        Raises:
            DataError: A column has no name or another's, or holds dates or what is not a text.
        """
        for name in columns:
            if not name or list(columns).count(name) > 1:
                which = f"two columns '{name}'" if name else "a column without a name"
                raise DataError(f"gives {which}", where=query, remedy="Name each with AS.")
        return cls(tuple(columns), list(_texts(columns, rows, query)))


def too_long(table: CohortTable) -> DataError:
    """Return the error of a query that was given up."""
    return DataError(
        f"took longer than {table.seconds} s, and was given up",
        where=table.query,
        remedy="seconds of [datasets.NAME.cohort] allows more.",
    )


def _texts(
    columns: Sequence[str], rows: Iterable[Sequence[object]], query: Path
) -> Iterator[tuple[str, ...]]:
    for row in rows:
        yield tuple(_text(name, value, query) for name, value in zip(columns, row, strict=True))


def _text(column: str, value: object, query: Path) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes | list | tuple | dict):
        raise DataError(f"its column '{column}' holds what is not a text and no number", where=query)
    text = str(value).strip()
    if not isinstance(value, int | float | UUID) and _DATE.fullmatch(text):
        raise DataError(
            f"its column '{column}' holds dates, which would stand in the dataset as they are",
            where=query,
            remedy="Let the query give an age, or a number of days.",
        )
    return text
