"""Counts of a hospital's patients that it has told: tables of a few columns, of which questions are answered.

A question asks nothing of the hospital: it is answered from what was told once, so that however many are
asked, they tell no more than the tables.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, model_validator

from shared.errors import WardroundError
from shared.table import Label, Name, Table
from shared.text.names import suggestion

MOST_COLUMNS, MOST_CELLS = 4, 256
OTHER = "other"
"""What a column's values are called that the hospital does not list, and those that are not known."""
COUNTS, WITHDRAW = "/v1/counts", "/v1/counts/withdraw"

Values = Annotated[tuple[Label, ...], Field(min_length=2, max_length=MOST_CELLS)]


class QuestionError(WardroundError):
    """A question that was not told the answer of."""


class ToldTable(Table):
    """One table: of some columns, in the order of all of them.

    Attributes:
        cells: For each combination of values, the last column's the fastest: about how many patients, 0 where
            they are too few to be told.
    """

    columns: tuple[Label, ...] = Field(max_length=MOST_COLUMNS)
    cells: tuple[Annotated[NonNegativeInt, Field(le=10**9)], ...] = Field(max_length=MOST_CELLS)


class ToldCounts(Table):
    """What a hospital tells of a dataset's patients.

    Attributes:
        told: When (UTC, ISO 8601).
        least: Fewer patients are told as none.
        step: Others are told as multiples of it.
        deviation: Standard deviation of the noise of each cell.
        columns: The values of each; a column's last are `OTHER`.
        tables: One for each choice of columns.
        projects: Whose people may see it; None is every project that the site belongs to.
    """

    dataset: Name
    told: str = Field(max_length=40, pattern=r"^[0-9T:.+Z-]+$")
    least: int = Field(ge=1, le=10**6)
    step: int = Field(ge=1, le=10**6)
    deviation: float = Field(ge=0, le=10**6)
    columns: dict[Label, Values] = Field(min_length=1, max_length=MOST_COLUMNS)
    tables: tuple[ToldTable, ...] = Field(max_length=2**MOST_COLUMNS)
    projects: tuple[Name, ...] | None = Field(None, max_length=100)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if [table.columns for table in self.tables] != choices(tuple(self.columns)):
            raise ValueError("tables: there is one for each choice of columns")
        for table in self.tables:
            if len(table.cells) != math.prod(len(self.columns[name]) for name in table.columns):
                raise ValueError("cells: there is one for each combination of values")
        return self

    def about(self, where: Mapping[str, Collection[str]]) -> "About":
        """Answer a question.

        Args:
            where: For each column that is asked about, the values that count.

        Raises:
            QuestionError: A column or a value was not told of.
        """
        for name, values in where.items():
            _require(name, self.columns, f"'{self.dataset}' tells of no column")
            for value in values:
                _require(value, self.columns[name], f"'{self.dataset}' tells of no '{name}'")
        asked = tuple(name for name in self.columns if name in where)
        table = next(table for table in self.tables if table.columns == asked)
        combinations = itertools.product(*(self.columns[name] for name in asked))
        counted = [
            count
            for values, count in zip(combinations, table.cells, strict=True)
            if all(value in where[name] for name, value in zip(asked, values, strict=True))
        ]
        told = [count for count in counted if count]
        return About(sum(told), self.deviation * math.sqrt(len(told)), len(counted) - len(told))


@dataclass(frozen=True)
class About:
    """An answer.

    Attributes:
        patients: About how many; 0 where none of the groups was large enough to be told.
        deviation: Standard deviation of its noise.
        untold: Groups in it that were too small to be told, and count as none.
    """

    patients: int
    deviation: float
    untold: int


def choices(columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every choice of columns, each in their order: that of none first, that of all last."""
    return [choice for size in range(len(columns) + 1) for choice in itertools.combinations(columns, size)]


def _require(name: str, known: Collection[str], problem: str) -> None:
    if name not in known:
        raise QuestionError(f"{problem} '{name[:60]}'; {suggestion(name, known)}")
