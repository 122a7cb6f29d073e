"""`[policy.counts.DATASET]`: which counts of a dataset's patients a hospital tells before there is a job."""

import bisect
import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from shared.table import Label, Name, Table
from shared.text.numbers import read_number
from shared.wire.counts import MOST_CELLS, MOST_COLUMNS, OTHER

_MOST_VALUES = 64


class CountsRules(Table):
    """`[policy.counts.DATASET]`: what may be asked about, and no more (docs/counts.md)."""

    columns: dict[Label, Annotated[list[Label], Field(min_length=1, max_length=_MOST_VALUES)]] = Field(
        {},
        description="Columns of texts, with the values that are told apart.",
        examples=[{"sex": ["f", "m"]}],
    )
    bands: dict[Label, Annotated[list[float], Field(min_length=1, max_length=_MOST_VALUES)]] = Field(
        {},
        description="Columns of numbers, with the numbers at which bands end: [40, 60] is '-40', '40-60' and "
        "'60-'.",
        examples=[{"age": [40.0, 60.0, 80.0]}],
    )
    projects: list[Name] | None = Field(
        None,
        description="Whose people may see the counts; without it every project of this site.",
        examples=[["lung"]],
    )

    @model_validator(mode="after")
    def _can_be_told(self) -> Self:
        if twice := self.columns.keys() & self.bands.keys():
            raise ValueError(f"'{min(twice)}' is in columns and in bands")
        if not 1 <= len(self.values) <= MOST_COLUMNS:
            raise ValueError(f"names {len(self.values)} columns, and can name 1 to {MOST_COLUMNS}")
        for name, ends in self.bands.items():
            if sorted(set(ends)) != ends:
                raise ValueError(f"bands: the numbers of '{name}' must ascend")
        for name, values in self.values.items():
            if len(set(values)) != len(values):
                raise ValueError(f"'{name}' has a value twice, or one that is called '{OTHER}'")
        cells = math.prod(map(len, self.values.values()))
        if cells > MOST_CELLS:
            raise ValueError(f"asks for {cells} cells, and may for {MOST_CELLS}: name fewer values")
        return self

    @property
    def values(self) -> dict[str, tuple[str, ...]]:
        """The values of each column that are told apart, and `OTHER`."""
        listed = {name: (*values, OTHER) for name, values in self.columns.items()}
        return listed | {name: (*_bands(ends), OTHER) for name, ends in self.bands.items()}

    def place(self, column: str, texts: set[str]) -> int:
        """Return the place in `values` of what a patient's rows have in a column.

        Args:
            column: Its name.
            texts: What they have. Where it is several, it is `OTHER`.
        """
        values = self.values[column]
        text = next(iter(texts)) if len(texts) == 1 else ""
        if column in self.columns:
            return values.index(text) if text in values else len(values) - 1
        try:
            return bisect.bisect_right(self.bands[column], read_number(text))
        except ValueError:
            return len(values) - 1


def _bands(ends: list[float]) -> Iterator[str]:
    shown = [f"{end:g}" for end in ends]
    yield f"-{shown[0]}"
    yield from (f"{low}-{high}" for low, high in itertools.pairwise(shown))
    yield f"{shown[-1]}-"
