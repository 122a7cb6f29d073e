"""What was said of an image, as reports hold it: sizes, boxes and numbers; nothing of what is true."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from client.predict.geometry import Placed, stored_corners
from shared.tasks.answers import Cell

UNITS = ("ml", "mm2", "pixels")
_PREDICTED = ("risk", "mean_time", "log_hazard", "instances")
_OF = ("score/", "predicted/", "survival/")

Sizes = Mapping[str, tuple[str, float]]
"""Of each structure: the unit (`ml`, `mm2`, `pixels`) and how large it is, in the order of the classes."""


@dataclass(frozen=True)
class Found:
    """A box.

    Attributes:
        name: Of its class.
        low: Its lower corner, in pixels from the edge of the image, in its file's order of axes.
        high: Its upper corner.
    """

    name: str
    score: float
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Numbers:
    """What was said of the image as a whole.

    Attributes:
        values: By their column in the table.
        names: Of the classes that it was given.
    """

    values: Mapping[str, float]
    names: Sequence[str]


def sizes_of(cells: Mapping[str, Cell]) -> Sizes:
    """Return the sizes among the cells of a row."""
    parts = ((name.partition("/"), value) for name, value in cells.items())
    return {name: (unit, float(value)) for (unit, _, name), value in parts if unit in UNITS and name}


def boxes_of(placed: Placed, classes: Sequence[str]) -> list[Found]:
    """Return the boxes that are drawn, the best first."""
    sure = placed.sure
    if sure.boxes is None or sure.scores is None:
        return []
    corners = stored_corners(sure).tolist()
    return [
        Found(classes[int(box[-1])], float(score), tuple(low), tuple(high))
        for box, score, (low, high) in zip(sure.boxes, sure.scores, corners, strict=True)
    ]


def numbers_of(cells: Mapping[str, Cell], classes: Collection[str]) -> Numbers:
    """Return the numbers and classes among the cells of a row that were predicted, none that are true."""
    values = {
        name: float(value)
        for name, value in cells.items()
        if isinstance(value, int | float)
        and math.isfinite(value)
        and (name in _PREDICTED or name.startswith(_OF))
    }
    said = str(cells.get("predicted", ""))
    return Numbers(values, [name for name in _several(said) if name in classes])


def _several(said: str) -> list[str]:
    return [name for name in said.split("|") if name]
