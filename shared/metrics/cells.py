"""Which numbers of a metric set tell together how many patients are behind them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cells:
    """Numbers that tell together how many patients are in each of some cells.

    Attributes:
        patients: Of each cell.
        metrics: Whose numbers tell it.
        column: The last index of these numbers; None for all of them.
    """

    patients: Sequence[int]
    metrics: Sequence[str]
    column: int | None = None
