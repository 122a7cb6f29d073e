"""What the rows of a dataset hold of one field, for a person who checks it."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Range:
    """The numbers of one column."""

    count: int = 0
    lowest: float = math.inf
    highest: float = -math.inf
    total: float = 0.0

    def add(self, number: float) -> None:
        """Count a number in."""
        self.count += 1
        self.lowest, self.highest = min(self.lowest, number), max(self.highest, number)
        self.total += number


@dataclass
class Tally:
    """Counts over the rows that were read.

    Attributes:
        rows: Number of rows.
        counts: What was found, such as the class of a box -> how often.
        numbers: Column -> the range of its numbers.
        missing: Column -> rows that have nothing in it.
        facts: Names of numbers that may well be the same in all rows.
        none: What a row may have any number of -> rows that have none.
        doubtful: What looks wrong, in words -> rows of which it is so.
    """

    rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, Range] = field(default_factory=lambda: defaultdict(Range))
    missing: Counter[str] = field(default_factory=Counter)
    none: Counter[str] = field(default_factory=Counter)
    facts: set[str] = field(default_factory=set)
    doubtful: Counter[str] = field(default_factory=Counter)

    def number(self, column: str, value: float) -> None:
        """Count a number in, or that it is missing."""
        if math.isnan(value):
            self.missing[column] += 1
        else:
            self.numbers[column].add(value)

    def fact(self, name: str, value: float) -> None:
        """Count a number of a file in, of which nothing is to be thought if it is the same in all rows."""
        self.facts.add(name)
        self.number(name, value)

    def doubts(self) -> Iterator[str]:
        """Yield what looks wrong, and which columns are missing in all rows, or have one value."""
        yield from (f"{what} ({rows} of {self.rows} rows)" for what, rows in self.doubtful.items())
        for column in dict.fromkeys([*self.numbers, *self.missing]):
            if column in self.facts:
                continue
            found = self.numbers.get(column)
            if self.missing[column] == self.rows:
                yield f"column '{column}' is missing in all rows"
            elif found is not None and found.lowest == found.highest and found.count > 1:
                yield f"column '{column}' is {found.lowest:g} in all rows that have it"

    def lines(self) -> Iterator[str]:
        """Yield one line for each column of which there is something to say, then one of counts."""
        for column in dict.fromkeys([*self.numbers, *self.missing]):
            found, lacking = self.numbers.get(column), self.missing[column]
            parts = []
            if found is not None:
                mean = found.total / found.count
                parts.append(f"{found.lowest:.4g} to {found.highest:.4g}, mean {mean:.4g}")
            if self.none[column]:
                parts.append(f"none in {self.none[column]} of {self.rows} rows")
            if lacking:
                parts.append(f"missing in {lacking} of {self.rows} rows")
            if parts:
                yield f"{column}: {'; '.join(parts)}"
        shown = [f"{name} ({count})" for name, count in self.counts.most_common() if count]
        if shown:
            yield ", ".join(shown)
