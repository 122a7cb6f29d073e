"""What there is to see in the metrics of a test: plain tables of points, which a report draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Cell: TypeAlias = str | float | int | None
Point: TypeAlias = tuple[Cell, Cell, Cell]

MOST_POINTS = 120
"""Points of one line: as many as a reader can tell apart."""


@dataclass(frozen=True)
class Figure:
    """One figure: its points, and how they are to be seen.

    Attributes:
        name: Of its files: letters, digits and hyphens.
        title: What is seen, in a few words.
        columns: What the three numbers of a point are: the series, along, and up; of a matrix its row, its
            column and the number there.
        points: In the order in which a line joins them.
        kind: `line`: lines; `steps`: lines that stay until the next point; `dots`: each value of a group (the
            series) by itself, where the second number has no meaning; `matrix`: a number for each pair.
        says: What it shows, in a sentence, for who doesn't see it.
        unit: Both axes go from 0 to 1.
        diagonal: What says nothing (a guess), or is perfect, lies on the line from corner to corner.
    """

    name: str
    title: str
    columns: tuple[str, str, str]
    points: Sequence[Point]
    kind: Literal["line", "steps", "dots", "matrix"] = "line"
    says: str = ""
    unit: bool = False
    diagonal: bool = False


def thinned(along: NDArray[np.float64], up: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return points (n,) of a line, at most `MOST_POINTS` of them, evenly along it, its ends among them."""
    if len(along) <= MOST_POINTS:
        chosen = np.arange(len(along))
    else:
        span = np.ptp(along) or 1.0, np.ptp(up) or 1.0
        steps = np.hypot(np.diff(along) / span[0], np.diff(up) / span[1])
        passed = np.append(0.0, np.cumsum(steps))
        wanted = np.linspace(0, passed[-1], MOST_POINTS)
        chosen = np.unique(np.searchsorted(passed, wanted).clip(0, len(along) - 1))
    return [(round(float(along[k]), 5), round(float(up[k]), 5)) for k in chosen]
