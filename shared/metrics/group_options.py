"""By which columns of the manifests a job has its test judged in groups of patients."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from shared.table import Table, check_distinct

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

MOST_GROUPS = 24
"""Of all columns together: the states of each go with the test's answer."""
Value = Annotated[str, Field(min_length=1, max_length=100)]


class GroupColumn(Table):
    """A column, and the groups that it makes: of values, or of numbers between ends."""

    column: Value = Field(examples=["sex"], description="Of the manifests.")
    values: list[Value] | None = Field(
        None, min_length=2, max_length=20, examples=[["F", "M"]], description="A group for each value."
    )
    ends: list[float] | None = Field(
        None,
        min_length=1,
        max_length=10,
        examples=[[40.0, 65.0]],
        description="Ends between groups of a number; who is at one is in the group above.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.values is None) == (self.ends is None):
            raise ValueError("values: give either values or ends")
        if self.values is not None:
            check_distinct("values", self.values)
        if self.ends is not None and any(high <= low for low, high in pairwise(self.ends)):
            raise ValueError("ends: must ascend")
        return self

    @property
    def groups(self) -> list[str]:
        """The groups in words, in their order."""
        if self.ends is None:
            return list(self.values or ())
        inner = [f"{low:g} to below {high:g}" for low, high in pairwise(self.ends)]
        return [f"below {self.ends[0]:g}", *inner, f"from {self.ends[-1]:g}"]

    def place_of(self, cell: str) -> int | None:
        """Return in which of the groups a patient with such a cell is; None for none of them."""
        if self.values is not None:
            return self.values.index(cell) if cell in self.values else None
        from shared.text.numbers import read_number  # noqa: PLC0415 (who checks a job has no cells)

        try:
            value = read_number(cell)
        except ValueError:
            return None
        return sum(value >= end for end in self.ends or ())


def groups_of(job: "JobSpec") -> Iterator[tuple[GroupColumn, int, str]]:
    """Yield every group of a job: its column, its place there, and its name among all."""
    for own in job.evaluation.groups:
        yield from ((own, place, f"{own.column}: {group}") for place, group in enumerate(own.groups))


def check_groups(job: "JobSpec") -> None:
    """Raise ValueError where a job asks for more groups than there may be, or tests nothing."""
    groups = list(groups_of(job))
    if len(groups) > MOST_GROUPS:
        raise ValueError(f"[evaluation] groups: there are {len(groups)}, and {MOST_GROUPS} is the most")
    if groups and job.job.describes:
        raise ValueError("[evaluation] groups: nothing is tested ([job] describes = true)")
