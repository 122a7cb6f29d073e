"""Flat views of an image: a picture as it is, a volume by one plane across each of its axes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Marks = tuple[str, str, str, str]  # at the top, right, bottom and left: R or L, A or P, S or I
_NAMES = ("sagittal", "coronal", "axial")
_TOWARDS, _AWAY = "RAS", "LPI"
_NO_MARKS: Marks = ("", "", "", "")


@dataclass(frozen=True)
class Plane:
    """A flat view.

    Attributes:
        title: Which plane of a volume it is; empty for a picture.
        image: (C, rows, columns).
        mask: (rows, columns) or None.
        pixel: Height and width of a pixel in mm, or (1, 1) where it is unknown.
        marks: Where the patient's sides lie; empty texts where the file does not say.
    """

    title: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    pixel: tuple[float, float]
    marks: Marks = _NO_MARKS


def planes(
    image: NDArray[np.float32],
    mask: NDArray[np.uint8] | None,
    spacing: tuple[float, ...] | None,
    affine: NDArray[np.float64] | None = None,
) -> list[Plane]:
    """Return the flat views of an image.

    Volumes are shown as radiologists see them, the patient's right on the left. Their planes go through the
    middle of the target, or of the volume where there is none.

    Args:
        image: (C, *S).
        mask: (*S) or None.
        spacing: Millimetres along each axis, or None.
        affine: Of `Picture`; None gives no marks.
    """
    lengths = spacing or (1.0,) * (image.ndim - 1)
    sides = None if affine is None else [affine[:, axis] for axis in range(image.ndim - 1)]
    if image.ndim == 3:
        marks = _NO_MARKS if sides is None else _marks(down=sides[0], right=sides[1])
        return [Plane("", image, mask, (lengths[0], lengths[1]), marks)]
    return [_across(axis, image, mask, lengths, sides) for axis in (2, 1, 0)]


def _across(
    axis: int,
    image: NDArray[np.float32],
    mask: NDArray[np.uint8] | None,
    lengths: tuple[float, ...],
    sides: list[NDArray[np.float64]] | None,
) -> Plane:
    """Return the plane across one axis: the later of the others runs up, the earlier one to the left."""
    index = _middle(axis, image, mask)
    columns, rows = (other for other in range(3) if other != axis)
    cut = np.moveaxis(image, axis + 1, 0)[index].transpose(0, 2, 1)[:, ::-1, ::-1]
    cut_mask = None if mask is None else np.moveaxis(mask, axis, 0)[index].T[::-1, ::-1]
    marks = _NO_MARKS if sides is None else _marks(down=-sides[rows], right=-sides[columns])
    name = f"{_NAMES[axis]}, " if sides is not None else ""
    title = f"{name}{'xyz'[axis]} = {index}"
    return Plane(title, cut, cut_mask, (lengths[rows], lengths[columns]), marks)


def _middle(axis: int, image: NDArray[np.float32], mask: NDArray[np.uint8] | None) -> int:
    """Return the index of the plane with the most foreground; without any, the middle of the image."""
    others = tuple(other for other in range(3) if other != axis)
    if mask is None or not mask.any():
        return image.shape[axis + 1] // 2
    return int((mask != 0).sum(axis=others).argmax())


def _marks(down: NDArray[np.float64], right: NDArray[np.float64]) -> Marks:
    return (_letter(-down), _letter(right), _letter(down), _letter(-right))


def _letter(direction: NDArray[np.float64]) -> str:
    """Return the side of the patient that a direction in RAS+ leads to first of all."""
    axis = int(np.abs(direction).argmax())
    return (_TOWARDS if direction[axis] > 0 else _AWAY)[axis]
