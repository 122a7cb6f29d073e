"""Points: landmarks that a model should find, or that two images share."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.data.kinds.drawing import Drawing
from client.data.kinds.places import PlacesKind, Row, coordinate
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from client.data.motion.steps import Step, Value, whole
from shared.errors import DataError

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene

_AXES = ("x", "y", "z")


class PointsKind(PlacesKind):
    """(N, D) float32, along the image's axes, counted in pixels from its edge; in the order of the file.

    They are written as x, y[, z], the numbers of pixels, so that 0 is the middle of the first one. A point
    that is empty, or that an augmentation moved out of the image, is not a number: its row stays, as points
    of two images belong together by their rows.
    """

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        places = np.array([self._point(row) for row in self.rows(record)], np.float64)
        grid = scene.grid_of(self)
        places = places.reshape(-1, self.data.dimensions)
        self.require_pixels(places, grid.before)
        places = places + 0.5
        moved = self.on_picture(places, record, scene)
        if (moved < 0).any() or (moved > np.array(grid.before)).any():
            raise DataError(
                f"a point lies out of its image of {'x'.join(map(str, grid.before))}",
                remedy="Are its numbers pixels of this image, x before y?",
            )
        return grid.points(moved)

    def _point(self, row: Row | list[Any]) -> list[float]:
        axes = self.data.dimensions
        if isinstance(row, dict):
            if any(name not in row for name in _AXES[:axes]):
                raise DataError(f"has no columns {', '.join(_AXES[:axes])} for its points")
            row = [row[name] for name in _AXES[:axes]]
        if len(row) != axes:
            raise DataError(f"a point has {axes} numbers, not {len(row)}")
        numbers = [coordinate(number) for number in row]
        if any(map(math.isnan, numbers)) and not all(map(math.isnan, numbers)):
            raise DataError("a point lacks a number", remedy="Leave all of them empty where it is not known.")
        return numbers

    def move(self, value: Value, steps: Sequence[Step]) -> Tensor:
        """See the base class."""
        points = whole(value)
        for step in steps:
            points = step.points(points)
            edge = points.new_tensor(step.shape(step.before))
            outside = ((points < 0) | (points > edge)).any(1)  # for good: what lay there is gone
            points = points.masked_fill(outside[:, None], math.nan)
        return points

    def drawing(self, value: NDArray[Any]) -> Drawing:
        """See the base class."""
        return Drawing(points=value)

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class."""
        into.number("points in an image", len(value))
        into.missing["a point"] += int(np.isnan(value).any(axis=1).sum())
