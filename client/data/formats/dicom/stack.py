"""Slices as a volume: in the order of their places, evenly apart, straight."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift

from client.data.formats.dicom.place import TO_RAS, Plane
from shared.errors import DataError

TOLERANCE = 0.05  # of the distance between two slices: how far each may lie from where it should
_STRAIGHT = 0.5  # degrees between the stack's axis and the slices' normal that are rounding


@dataclass(frozen=True)
class Stack:
    """Where the slices of a volume lie.

    Attributes:
        planes: In their order, one for each slice.
        step: From one slice to the next, mm, LPS.
    """

    planes: Sequence[Plane]
    step: NDArray[np.float64]

    @property
    def tilt(self) -> float:
        """Degrees between the axis of the stack and the normal of its slices: a tilted gantry."""
        length = np.linalg.norm(self.step)
        along = abs(self.step @ self.planes[0].normal) / length if length else 1.0
        return float(np.degrees(np.arccos(min(1.0, along))))

    @property
    def is_tilted(self) -> bool:
        """Whether the volume is sheared."""
        return len(self.planes) > 1 and self.tilt > _STRAIGHT

    def affine(self) -> NDArray[np.float64]:
        """Return (4, 4): (row, column, slice, 1) to RAS+ mm."""
        first = self.planes[0]
        affine = np.eye(4)
        affine[:3] = np.column_stack(
            [first.columns * first.spacing[0], first.rows * first.spacing[1], self.step, first.origin]
        )
        return TO_RAS @ affine


def order_of(planes: Sequence[Plane]) -> NDArray[np.int64]:
    """Return the indices of planes, sorted by their place along their common normal."""
    normal = planes[0].normal
    return np.argsort([normal @ plane.origin for plane in planes], kind="stable")


def stack_of(planes: Sequence[Plane], thickness: float | None, where: Path) -> Stack:
    """Return how ordered slices lie.

    Args:
        planes: In their order, each of another place.
        thickness: Of a slice in mm, for a single one; None where the file does not say.
        where: The folder, for the error.

    Raises:
        DataError: A slice is missing, lies aside, or they lie unevenly.
    """
    if len(planes) == 1:
        return Stack(planes, planes[0].normal * (thickness or 1.0))
    origins = np.array([plane.origin for plane in planes])
    step = (origins[-1] - origins[0]) / (len(planes) - 1)
    distance = float(np.linalg.norm(step))
    gaps = np.linalg.norm(np.diff(origins, axis=0), axis=1)
    off = np.linalg.norm(origins - (origins[0] + np.arange(len(planes))[:, None] * step), axis=1)
    if (off <= TOLERANCE * distance).all():
        return Stack(planes, step)
    usual = float(gaps.min())
    missing = np.rint(gaps / usual) if usual else gaps
    if (missing > 1).any() and (np.abs(gaps - missing * usual) <= 2 * TOLERANCE * usual).all():
        count = int((missing - 1).sum())
        raise DataError(
            f"lacks {count} slice{'s' * (count != 1)}: some lie {gaps.min():.2f} mm apart, others "
            f"{gaps.max():.2f} mm",
            where=where,
        )
    aside = _farthest_aside(origins, planes[0].normal)
    if aside > 2 * TOLERANCE * max(usual, min(planes[0].spacing)):
        raise DataError(f"has a slice that lies {aside:.1f} mm aside of the others", where=where)
    raise DataError(
        f"has slices that are unevenly apart, from {gaps.min():.2f} mm to {gaps.max():.2f} mm",
        where=where,
        remedy="Resample it to even slices, or leave the slices out that were taken otherwise.",
    )


def _farthest_aside(origins: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    """Return by how much the farthest slice lies beside the line through the others, mm."""
    aside = origins - np.outer(origins @ normal, normal)
    return float(np.linalg.norm(aside - np.median(aside, axis=0), axis=1).max())


def straightened(
    volume: NDArray[np.float64], stack: Stack, fill: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Return a sheared volume as an upright one: each slice is moved within its plane, linearly.

    Args:
        volume: (rows, columns, slices).
        stack: How its slices lie.
        fill: What is put where nothing was measured.

    Returns:
        The volume, larger by what the slices moved; True where nothing was measured; its affine.
    """
    first, count = stack.planes[0], volume.shape[2]
    up = first.normal * (stack.step @ first.normal)
    aside = stack.step - up
    moves = np.array([aside @ first.columns / first.spacing[0], aside @ first.rows / first.spacing[1]])
    ends = np.outer(np.arange(count), moves)  # of each slice, in pixels
    before = np.ceil(-ends.min(axis=0)).astype(int).clip(0)
    after = np.ceil(ends.max(axis=0)).astype(int).clip(0)
    widths = [(int(low), int(high)) for low, high in zip(before, after, strict=True)]
    shape = (volume.shape[0] + sum(widths[0]), volume.shape[1] + sum(widths[1]), count)
    upright, outside = np.empty(shape), np.empty(shape, dtype=bool)
    for index in range(count):
        padded = np.pad(volume[:, :, index], widths, constant_values=fill)
        upright[:, :, index] = shift(padded, ends[index], order=1, mode="constant", cval=fill)
        measured = np.pad(np.ones(volume.shape[:2]), widths)
        outside[:, :, index] = shift(measured, ends[index], order=1, mode="constant", cval=0) < 1
    affine = stack.affine()
    affine[:3, 2] = TO_RAS[:3, :3] @ up
    affine[:3, 3] -= affine[:3, :2] @ before
    return upright, outside, affine
