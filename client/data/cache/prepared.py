"""A sample as a network sees it, before it is augmented."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Prepared:
    """The fields of a sample that come from files, fitted to one grid.

    Attributes:
        values: By field.
        spacing: Millimetres along each axis of the grid, or None where it is unknown.
    """

    values: Mapping[str, NDArray[Any]]
    spacing: tuple[float, ...] | None
