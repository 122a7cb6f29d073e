"""An image as it was read: its numbers, how they were turned, and where they lie in the patient."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError

_LARGEST = 1e18  # of a value: means and variances are of squares
# Exif 2.32, 4.6.4: orientation -> (rows and columns swapped, rows flipped, columns flipped)
_EXIF = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclass(frozen=True)
class Turn:
    """How an image's array was made from the file's own order of axes: by swapping and flipping them.

    Attributes:
        axes: The file's axis that each spatial axis of the array is; the file's others have length 1.
        flipped: Whether each of them runs the other way.
        stored: The number of spatial axes in the file.
    """

    axes: tuple[int, ...]
    flipped: tuple[bool, ...]
    stored: int

    @classmethod
    def none(cls, axes: int) -> Self:
        """Return the turn of a file whose order of axes is kept."""
        return cls(tuple(range(axes)), (False,) * axes, axes)

    @classmethod
    def exif(cls, orientation: int) -> Self:
        """Return the turn that shows a photograph upright.

        Args:
            orientation: The tag, 1 to 8 (Exif 2.32, 4.6.4); others are as if there was none.
        """
        swapped, *flipped = _EXIF.get(orientation, (False, False, False))
        return cls((1, 0) if swapped else (0, 1), (flipped[0], flipped[1]), 2)

    @classmethod
    def upright(cls, affine: NDArray[np.float64], shape: tuple[int, ...], *, flat: bool) -> Self:
        """Return the turn of a volume (x, y, z) to RAS+, or of a flat one to the radiological view.

        Args:
            affine: (4, 4), the file's voxels to RAS+ mm.
            shape: The file's three lengths.
            flat: Whether a volume of one slice becomes a picture, its rows from the top.

        Raises:
            ValueError: The affine squeezes an axis to nothing.
        """
        from nibabel.orientations import io_orientation  # noqa: PLC0415 (loads pydicom; a node needs neither)

        to_ras = io_orientation(affine)
        if np.isnan(to_ras).any():
            raise ValueError("its affine squeezes an axis to nothing")
        by_ras = {int(ras): (axis, step < 0) for axis, (ras, step) in enumerate(to_ras)}
        order = [by_ras[ras] for ras in range(3)]
        thin = [place for place, (axis, _) in enumerate(order) if shape[axis] == 1]
        if flat and len(thin) == 1:
            first, second = (order[place] for place in range(3) if place != thin[0])
            order = [(axis, not flip) for axis, flip in (second, first)]
        return cls(tuple(axis for axis, _ in order), tuple(flip for _, flip in order), 3)

    def apply(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Turn an array (..., *S) from the file's order of axes."""
        if self == Turn.none(self.stored):
            return np.ascontiguousarray(stored)
        lead = stored.ndim - self.stored
        thin = [axis for axis in range(self.stored) if axis not in self.axes]
        order = [*range(lead), *(lead + axis for axis in (*self.axes, *thin))]
        turned = stored.transpose(order).reshape(*stored.shape[:lead], *self.turned(stored.shape[lead:]))
        return np.ascontiguousarray(np.flip(turned, self._flips(lead)))

    def undo(self, turned: NDArray[Any]) -> NDArray[Any]:
        """Turn an array (..., *S) back to the file's order of axes."""
        lead = turned.ndim - len(self.axes)
        thin = self.stored - len(self.axes)
        flat = np.flip(turned, self._flips(lead)).reshape(*turned.shape, *(1,) * thin)
        order = [*self.axes, *(axis for axis in range(self.stored) if axis not in self.axes)]
        back = [order.index(axis) for axis in range(self.stored)]
        return np.ascontiguousarray(flat.transpose(*range(lead), *(lead + axis for axis in back)))

    def turned(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Return the spatial shape after the turn."""
        return tuple(stored[axis] for axis in self.axes)

    def place(self, affine: NDArray[np.float64], stored: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the affine (3, n + 1) of the turned array from that of the file (4, 4 or more rows)."""
        columns, origin = [], affine[:3, -1].astype(np.float64)
        for axis, flip in zip(self.axes, self.flipped, strict=True):
            step = affine[:3, axis]
            origin = origin + step * (stored[axis] - 1) if flip else origin
            columns.append(-step if flip else step)
        return np.column_stack([*columns, origin])

    def places(self, stored: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Move places (N, axes of the file), counted from the edge of the file's array, with it.

        Args:
            stored: In the file's own order of axes.
            shape: The spatial shape after the turn.
        """
        moved = stored[:, list(self.axes)]
        return np.where(self.flipped, np.array(shape) - moved, moved)

    def _flips(self, lead: int) -> tuple[int, ...]:
        return tuple(lead + axis for axis, flip in enumerate(self.flipped) if flip)


@dataclass(frozen=True)
class Picture:
    """An image as it was read.

    One order of axes for all formats. A picture (2D) is (C, rows, columns) as it is looked at: from the top,
    from the left; for a slice with a place in the patient that is the radiological view. A volume (3D) is (C,
    x, y, z), turned to RAS+ (x to the patient's right, y to the front, z to the head).

    Attributes:
        array: (C, rows, columns) or (C, x, y, z), in the file's own type and units.
        spacing: Millimetres along each spatial axis, or None where the file does not say.
        affine: (3, n + 1), from an index (i, j[, k], 1) of the array to RAS+ in mm; None where the file does
            not say where it lies.
        turn: How the array was made from the file's own order of axes.
        background: (*S), True where the file says that there is no tissue (DICOM's padding); None: nowhere.
        notes: What a person should know of how the file was read.
        frame: The frame of reference (DICOM) from which its place counts; empty where the file does not say.
        modality: DICOM's; empty where the file does not say.
    """

    array: NDArray[Any]
    spacing: tuple[float, ...] | None
    affine: NDArray[np.float64] | None = None
    turn: Turn = field(default_factory=lambda: Turn.none(2))
    background: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    frame: str = ""
    modality: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape."""
        return self.array.shape[1:]

    @property
    def place(self) -> NDArray[np.float64]:
        """The affine of a picture whose file says where it lies.

        Raises:
            ValueError: The file does not say.
        """
        if self.affine is None:
            raise ValueError("a picture without a place")
        return self.affine

    def floats(self, where: Path) -> NDArray[np.float32]:
        """Return the array as float32.

        Raises:
            DataError: It has complex numbers, numbers that are not finite, or whole numbers that float32
                can't hold.
        """
        array = self.array
        if array.dtype.kind == "c":
            raise DataError(
                "has complex numbers",
                where=where,
                remedy="Save their magnitude, or real and imaginary part as two images.",
            )
        if array.dtype.kind in "biu" and array.itemsize <= 2:  # all of their values are float32's, too
            return array.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused below
            floats = array.astype(np.float32, copy=False)
            lost = array.dtype.kind in "iu" and (floats.astype(array.dtype) != array).any()
        if lost:
            raise DataError(
                "has whole numbers so large that they lose digits in training",
                where=where,
                remedy="Save it as numbers with a point, or scaled down.",
            )
        if not np.isfinite(floats).all():
            raise DataError("has values that are not finite numbers", where=where)
        if (largest := float(max(floats.max(initial=0), -floats.min(initial=0)))) > _LARGEST:
            raise DataError(
                f"has values up to {largest:.3g}, whose squares float32 can't hold",
                where=where,
                remedy="Is it damaged? Save it in the units of its scanner.",
            )
        return floats

    def undone(self) -> "Picture":
        """Return a picture without a place in the file's own order of axes."""
        spacing = None
        if self.spacing is not None:
            by_axis = dict(zip(self.turn.axes, self.spacing, strict=True))
            spacing = tuple(by_axis[axis] for axis in sorted(by_axis))
        padding = None if self.background is None else self.turn.undo(self.background)
        turn = Turn.none(self.turn.stored)
        return replace(self, array=self.turn.undo(self.array), spacing=spacing, turn=turn, background=padding)
