"""Flat views of an image: a picture as it is, a volume by one plane across each of its axes."""

from dataclasses import dataclass, replace
from typing import NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from client.data.kinds.drawing import Drawing

Areas = NDArray[np.uint8] | NDArray[np.int32]
Marks = tuple[str, str, str, str]  # at the top, right, bottom and left: R or L, A or P, S or I
_NAMES = ("sagittal", "coronal", "axial")
_TOWARDS, _AWAY = "RAS", "LPI"
_NO_MARKS: Marks = ("", "", "", "")


class Sample(NamedTuple):
    """What is looked at.

    Attributes:
        image: (C, *S).
        drawings: Of the fields that lie on it.
        truth: Where the drawings were predicted, what is true.
    """

    image: NDArray[np.float32]
    drawings: tuple[Drawing, ...] = ()
    truth: tuple[Drawing, ...] = ()

    @property
    def areas(self) -> list[Areas]:
        """Those of all fields, each (*S)."""
        return [own.areas for own in self.drawings if own.areas is not None]

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Those of all fields, (N, 2 D + 1)."""
        none = np.zeros((0, 2 * self.image.ndim - 1), np.float32)
        return np.concatenate([none, *(own.boxes for own in self.drawings if own.boxes is not None)])

    @property
    def points(self) -> NDArray[np.float32]:
        """Those of all fields that are numbers, and their rows, (N, D + 1)."""
        found = [np.zeros((0, self.image.ndim), np.float32)]
        for own in self.drawings:
            if own.points is not None:
                rows = np.arange(len(own.points), dtype=np.float32)[:, None]
                found.append(np.hstack([own.points, rows])[np.isfinite(own.points).all(axis=1)])
        return np.concatenate(found)


@dataclass(frozen=True)
class Plane:
    """A flat view.

    Attributes:
        title: Which plane of a volume it is; empty for a picture.
        image: (C, rows, columns).
        areas: Those of several fields, each (rows, columns).
        boxes: First row, first column, last row, last column and class of those that it cuts, (N, 5).
        points: Row, column and number of those that lie in it, (N, 3).
        pixel: Height and width of a pixel in mm, or (1, 1) where it is unknown.
        marks: Where the patient's sides lie; empty texts where the file does not say.
        truth: Of a prediction: the same view with what is true on it.
    """

    title: str
    image: NDArray[np.float32]
    areas: list[Areas]
    boxes: NDArray[np.float32]
    points: NDArray[np.float32]
    pixel: tuple[float, float]
    marks: Marks = _NO_MARKS
    truth: Optional["Plane"] = None


def planes(
    sample: Sample, spacing: tuple[float, ...] | None, affine: NDArray[np.float64] | None = None
) -> list[Plane]:
    """Return the flat views of an image.

    Volumes are shown as radiologists see them, the patient's right on the left. Their planes go through the
    middle of the target, or of the volume where there is none.

    Args:
        sample: Image and target.
        spacing: Millimetres along each axis, or None.
        affine: Of `Picture`; None gives no marks.
    """
    axes = sample.image.ndim - 1
    lengths = spacing or (1.0,) * axes
    sides = None if affine is None else [affine[:, axis] for axis in range(axes)]
    true = Sample(sample.image, sample.truth)
    if axes == 2:
        view = _whole(sample, lengths, sides)
        return [replace(view, truth=_whole(true, lengths, sides)) if sample.truth else view]
    both = Sample(sample.image, (*sample.drawings, *sample.truth))
    found = []
    for axis in (2, 1, 0):
        index = _middle(axis, both)
        view = _across(axis, index, sample, lengths, sides)
        truth = _across(axis, index, true, lengths, sides) if sample.truth else None
        found.append(replace(view, truth=truth))
    return found


def _whole(sample: Sample, lengths: tuple[float, ...], sides: list[NDArray[np.float64]] | None) -> Plane:
    marks = _NO_MARKS if sides is None else _marks(down=sides[0], right=sides[1])
    pixel = lengths[0], lengths[1]
    return Plane("", sample.image, sample.areas, sample.boxes, sample.points, pixel, marks)


def _across(
    axis: int, index: int, sample: Sample, lengths: tuple[float, ...], sides: list[NDArray[np.float64]] | None
) -> Plane:
    """Return a plane across one axis: the later of the others runs up, the earlier one to the left."""
    image, boxes, points = sample.image, sample.boxes, sample.points
    columns, rows = (other for other in range(3) if other != axis)
    cut = np.moveaxis(image, axis + 1, 0)[index].transpose(0, 2, 1)[:, ::-1, ::-1]
    areas = [np.moveaxis(own, axis, 0)[index].T[::-1, ::-1] for own in sample.areas]
    marks = _NO_MARKS if sides is None else _marks(down=-sides[rows], right=-sides[columns])
    name = f"{_NAMES[axis]}, " if sides is not None else ""
    title = f"{name}{'xyz'[axis]} = {index}"
    there = boxes[(boxes[:, axis] <= index) & (boxes[:, 3 + axis] > index)]
    height, width = image.shape[rows + 1], image.shape[columns + 1]
    ends = [height - there[:, 3 + rows], width - there[:, 3 + columns]]
    ends += [height - there[:, rows], width - there[:, columns], there[:, -1]]
    near = points[np.floor(points[:, axis]) == index]
    places = [height - near[:, rows], width - near[:, columns], near[:, -1]]
    pixel = lengths[rows], lengths[columns]
    return Plane(title, cut, areas, np.stack(ends, axis=1), np.stack(places, axis=1), pixel, marks)


def _middle(axis: int, sample: Sample) -> int:
    """Return the index of the plane with the most of the target; without any, the middle of the image."""
    others = tuple(other for other in range(3) if other != axis)
    length = sample.image.shape[axis + 1]
    amounts = np.zeros(length)
    for own in sample.areas:
        amounts += (own != 0).sum(axis=others)
    for place in sample.points[:, axis]:
        amounts[int(place) : int(place) + 1] += 1
    for box in sample.boxes:
        amounts[int(box[axis]) : int(np.ceil(box[3 + axis]))] += np.prod(box[3:6] - box[:3])
    return int(amounts.argmax()) if amounts.any() else length // 2


def _marks(down: NDArray[np.float64], right: NDArray[np.float64]) -> Marks:
    return (_letter(-down), _letter(right), _letter(down), _letter(-right))


def _letter(direction: NDArray[np.float64]) -> str:
    """Return the side of the patient that a direction in RAS+ leads to first of all."""
    axis = int(np.abs(direction).argmax())
    return (_TOWARDS if direction[axis] > 0 else _AWAY)[axis]
