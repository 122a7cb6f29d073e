"""What is added up over all sites' training patients before the first round, known without loading NumPy.

A task names what it needs (`TaskOptions.statistics`), each site computes its part, and the sum goes to every
site (`shared.metrics.statistics`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal, Self

Kind = Literal["counts", "moments", "histogram"]

LARGEST_VALUE = 2.0**40  # of a column of numbers: what is beyond counts as this
_MOST_NUMBERS = 8192  # of all statistics of a job
_MOST_NAMED = 100  # of its columns or classes


@dataclass(frozen=True)
class StatisticSpec:
    """One statistic.

    Attributes:
        name: By which the task finds it.
        kind: `counts` of samples by class (K,); `moments` of each of K columns (K, 3): how many are known,
            their sum, the sum of their squares; a `histogram` (K,): values in equal bins from
            `low` to `high`.
        of: The classes, or the columns, in words.
        shape: Of its numbers.
        largest: Largest absolute value that one sample adds to a number of it.
        low: Of a histogram.
        high: Of a histogram: what is beyond is not counted.
        instead: What a job states in place of it, as a remedy.
    """

    name: str
    kind: Kind
    of: tuple[str, ...]
    shape: tuple[int, ...]
    largest: float = 1.0
    low: float = 0.0
    high: float = 0.0
    instead: str = "state in the job what is publicly known"

    @classmethod
    def counts(cls, name: str, classes: Sequence[str]) -> Self:
        """Return that of the samples of each class."""
        return cls(name, "counts", tuple(classes), (len(classes),))

    @classmethod
    def moments(cls, name: str, columns: Sequence[str]) -> Self:
        """Return those of columns of numbers."""
        return cls(name, "moments", tuple(columns), (len(columns), 3), LARGEST_VALUE**2)

    @classmethod
    def histogram(cls, name: str, of: str, bins: int, low: float, high: float) -> Self:
        """Return that of the values of one column."""
        return cls(name, "histogram", (of,), (bins,), low=low, high=high)

    def unless(self, instead: str) -> Self:
        """Return it with what a job may state in place of it, as a remedy."""
        return replace(self, instead=instead)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)

    @property
    def told(self) -> str:
        """What leaves a site of it, in words."""
        names = ", ".join(self.of[:_MOST_NAMED])
        if len(self.of) > _MOST_NAMED:
            names += f" and {len(self.of) - _MOST_NAMED} more"
        return {
            "counts": f"the rounded number of training images (or voxels) of each class: {names}",
            "moments": f"how many training patients have each of these columns, mean and spread: {names}",
            "histogram": f"how many training patients have which {names}, in bins up to {self.high:g}",
        }[self.kind]


def check_specs(specs: Sequence[StatisticSpec]) -> Iterator[str]:
    """Yield what is wrong with the statistics that a task names."""
    if len({spec.name for spec in specs}) != len(specs):
        yield "two statistics have one name"
    if sum(spec.size for spec in specs) > _MOST_NUMBERS:
        yield f"the statistics have more than {_MOST_NUMBERS} numbers"
