"""Boxes around what a model should find."""

import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.data.kinds.drawing import Drawing
from client.data.kinds.places import PlacesKind, Row, coordinate
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from client.data.motion.steps import Step, Value, whole
from shared.errors import DataError
from shared.text.names import suggestion

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene

LEAST_SEEN = 0.25  # of a box, or of the image: with less of it in sight a box is dropped
_WITHIN = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a box along each axis: places that are moved where lines bend
_BEYOND = 1.0  # pixels: annotators' programs may count from 1, or to the last pixel
_CORNERS = (
    ("x_min", "y_min", "x_max", "y_max", "z_min", "z_max"),
    ("x0", "y0", "x1", "y1", "z0", "z1"),
)
_CLASS = ("label", "class")


class BoxesKind(PlacesKind):
    """(N, 2 D + 1) float32: each box's lower and upper corner along the image's axes, and its class's index.

    Corners are counted in pixels from the edge, so that a box from 2 to 5 covers the pixels 2, 3 and 4. They
    are written as x0, y0, x1, y1[, z0, z1][, class].
    """

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        found = [self._box(row) for row in self.rows(record)]
        written = [box for box in found if box is not None]
        corners = np.array([box[0] for box in written], np.float64).reshape(-1, 2, self.data.dimensions)
        self._require_area(corners)
        self.require_pixels(corners.reshape(-1, self.data.dimensions), scene.grid_of(self).before)
        grid = scene.grid_of(self)
        low, high = self._inside(
            [self.on_picture(corners[:, end], record, scene) for end in (0, 1)], grid.before
        )
        classes = np.array([box[1] for box in written], np.float32).reshape(-1, 1)
        return np.concatenate([grid.points(low), grid.points(high), classes], axis=1).astype(np.float32)

    def _box(self, row: Row | list[Any]) -> tuple[list[float], int] | None:
        """Return (x0, y0[, z0], x1, y1[, z1]) and the class's index; None where the cells are empty."""
        numbers, name = self._written(row)
        corners = [coordinate(number) for number in numbers]
        if all(math.isnan(number) for number in corners):
            return None
        if any(math.isnan(number) for number in corners):
            raise DataError("a box lacks a corner")
        x0, y0, x1, y1, *z = corners
        return [x0, y0, *z[:1], x1, y1, *z[1:]], self._class(name)

    def _written(self, row: Row | list[Any]) -> tuple[list[Any], str | None]:
        length = 2 * self.data.dimensions
        if isinstance(row, dict):
            names = next((names for names in _CORNERS if names[0] in row), None)
            if len(self.field.columns) > 1:
                row = list(row.values())
            elif names is None or any(name not in row for name in names[:length]):
                raise DataError(f"has no columns {', '.join(_CORNERS[0][:length])} for its boxes")
            else:
                return [row[name] for name in names[:length]], _named(row)
        if len(row) not in (length, length + 1):
            raise DataError(f"a box has {length} corners and a class, not {len(row)} entries")
        return row[:length], str(row[length]) if len(row) > length else None

    def _class(self, name: str | None) -> int:
        classes = self.field.classes
        if name is None and len(classes) == 1:
            return 0
        if name not in classes:
            raise DataError(f"'{name}' of a box is not a class of the job; {suggestion(name or '', classes)}")
        return classes.index(name)

    def _require_area(self, corners: NDArray[np.float64]) -> None:
        for low, high in corners:
            if (high <= low).any():
                ends = ", ".join(f"{number:g}" for number in [*low, *high])
                raise DataError(f"a box has no area: it goes from and to {ends}")

    def _inside(
        self, ends: list[NDArray[np.float64]], shape: tuple[int, ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lower and upper corners, cut to the image."""
        low, high = np.minimum(*ends), np.maximum(*ends)
        if (low < -_BEYOND).any() or (high > np.array(shape) + _BEYOND).any():
            raise DataError(
                f"a box reaches out of its image of {'x'.join(map(str, shape))}",
                remedy="Are its numbers pixels of this image, x before y?",
            )
        return np.clip(low, 0, shape), np.clip(high, 0, shape)

    def move(self, value: Value, steps: Sequence[Step]) -> Tensor:
        """See the base class: after each step a box is the one around its moved corners, cut to the image."""
        boxes = whole(value)
        for step in steps:
            boxes = _moved(boxes, step)
        return boxes

    def centre(self, value: Value, rng: np.random.Generator, memo: dict[str, Any]) -> Sequence[int] | None:
        """See the base class: the middle of a box, each as likely."""
        boxes = whole(value)
        if not len(boxes):
            return None
        axes = boxes.shape[1] // 2
        low, high = boxes[int(rng.integers(len(boxes)))][: 2 * axes].reshape(2, axes)
        return [int(place) for place in (low + high) / 2]

    @property
    def classes(self) -> int:
        """The classes of the job."""
        return len(self.field.classes)

    def class_counts(self, value: Tensor) -> NDArray[np.int64]:
        """See the base class; boxes."""
        return np.bincount(value[:, -1].numpy().astype(np.int64), minlength=self.classes).astype(np.int64)

    def drawing(self, value: NDArray[Any]) -> Drawing:
        """See the base class."""
        return Drawing(boxes=value)

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class."""
        into.number("boxes in an image", len(value))
        into.none["boxes in an image"] += not len(value)
        for index in value[:, -1].astype(int):
            into.counts[self.field.classes[index]] += 1


def _named(row: Row) -> str | None:
    """Return the class that a row names; None where it has no column of it."""
    named = list(dict.fromkeys(row[name] for name in _CLASS if name in row))
    if len(named) > 1:
        raise DataError(f"a box is of two classes: {' and '.join(named)}", remedy="Leave one column.")
    return named[0] if named else None


def _moved(boxes: Tensor, step: Step) -> Tensor:
    axes = boxes.shape[1] // 2
    ends = boxes[:, : 2 * axes].reshape(-1, 2, axes)
    which = list(product((0, 1), repeat=axes))
    corners = torch.stack([ends[:, list(choice), range(axes)] for choice in which], dim=1)
    if step.bends:  # the outermost may lie between corners
        shares = ends.new_tensor(list(product(_WITHIN, repeat=axes)))
        corners = ends[:, None, 0] + shares * (ends[:, 1] - ends[:, 0])[:, None]
    places = step.points(corners.reshape(-1, axes)).reshape(corners.shape)
    return _seen(places.amin(1), places.amax(1), boxes[:, 2 * axes :], step.shape(step.before))


def _seen(low: Tensor, high: Tensor, classes: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the boxes cut to the image, without those of which hardly anything is in it."""
    whole = (high - low).prod(1)
    edge = low.new_tensor(shape)
    low, high = low.clamp(min=0).minimum(edge), high.clamp(min=0).minimum(edge)
    kept = (high - low).prod(1) >= LEAST_SEEN * whole.clamp(max=float(edge.prod()))
    return torch.cat([low, high, classes], dim=1)[kept]
