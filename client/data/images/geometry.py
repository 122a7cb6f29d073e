"""Files of one sample lie on each other: their places are compared, none is turned by its header alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from client.data.formats.picture import Picture, Turn
from shared.errors import DataError

Geometry = Literal["strict", "resample", "array"]
TOLERANCE = (
    0.05  # of the smallest voxel's length: how far corners may lie apart that are written as one place
)
LEAST_OVERLAP = 0.5  # of the image that a companion must cover to be resampled to it
_REMEDY = (
    "Save it on the image's own grid; or, in the job, [data] geometry = 'resample' moves it there by its "
    "header, 'array' takes its numbers in the image's order of axes."
)


def size(shape: Sequence[int]) -> str:
    """Return a shape as people write it: '128x96'."""
    return "x".join(str(length) for length in shape)


def short(path: Path) -> str:
    """Return a file's name with its folder's: masks are often named as their images."""
    return f"{path.parent.name}/{path.name}"


def settle_orientation(pictures: Sequence[Picture], paths: Sequence[Path]) -> list[Picture]:
    """Apply the orientation tags of photographs to all files of a sample, or to none.

    Where only some have a tag, the sizes tell whether the others were drawn on the photograph as it is shown.

    Raises:
        DataError: The sizes fit both ways, or neither.
    """
    if not all(picture.affine is None and picture.turn.stored == 2 for picture in pictures):
        return list(pictures)
    if len({picture.turn for picture in pictures}) == 1:
        return list(pictures)
    shown = len({picture.shape for picture in pictures}) == 1
    undone = [picture.undone() for picture in pictures]
    stored = len({picture.shape for picture in undone}) == 1
    if shown and not stored:
        return list(pictures)
    if stored and not shown:
        return undone
    upright = Turn.none(2)
    tagged = next(number for number, picture in enumerate(pictures) if picture.turn != upright)
    other = next(
        path for path, picture in zip(paths, pictures, strict=True) if picture.turn != pictures[tagged].turn
    )
    raise DataError(
        f"has an orientation tag (EXIF), and {short(other)} has not, or another one",
        where=paths[tagged],
        remedy="Save both upright without the tag, so that it is clear how they lie on each other.",
    )


def on_grid(
    first: Picture, other: Picture, first_path: Path, path: Path, geometry: Geometry, *, labels: bool
) -> Picture:
    """Return a companion (a further channel, a mask) on the grid of a sample's first image.

    Args:
        first: The image.
        other: Its companion.
        first_path: The image's file, for the error.
        path: The companion's file.
        geometry: The job's `[data] geometry`.
        labels: Whether the companion's numbers are labels, of which no mean is taken.

    Raises:
        DataError: It lies elsewhere; says what differs and what can be done.
    """
    if geometry == "array":
        return _in_order_of(first, other, first_path, path)
    if first.affine is None or other.affine is None:
        return _without_place(first, other, first_path, path)
    if first.frame and other.frame and first.frame != other.frame:
        raise DataError(
            f"counts its place from another frame of reference than {short(first_path)}",
            where=path,
            remedy="Is it of this image? [data] geometry = 'array' takes its numbers as they are stored.",
        )
    if len(first.shape) != len(other.shape):
        raise DataError(f"is {size(other.shape)}, but {short(first_path)} is {size(first.shape)}", where=path)
    if first.shape == other.shape and _apart(first, other) <= TOLERANCE * _smallest_voxel(first, other):
        return other
    cut = _uncut(first, other) if labels else None
    if cut is not None:
        return cut
    if geometry == "resample":
        return _resampled(first, other, path, labels=labels)
    raise DataError(
        f"lies elsewhere than {short(first_path)}: {_difference(first, other)}", where=path, remedy=_REMEDY
    )


def _uncut(first: Picture, other: Picture) -> Picture | None:
    """Return a mask that was cut to a box of the image's grid on the whole grid; None where it was not."""
    axes = len(first.shape)
    steps = np.abs(first.place[:, :axes] - other.place[:, :axes]).max(axis=0) * np.array(other.shape)
    if first.shape == other.shape or steps.max() > TOLERANCE * _smallest_voxel(first, other):
        return None
    begin = np.linalg.pinv(first.place[:, :axes]) @ (other.place[:, axes] - first.place[:, axes])
    at = np.rint(begin).astype(int)
    inside = (at >= 0).all() and (at + np.array(other.shape) <= np.array(first.shape)).all()
    if np.abs(begin - at).max() > TOLERANCE or not inside:
        return None
    array = np.zeros((len(other.array), *first.shape), other.array.dtype)
    box = tuple(slice(low, low + length) for low, length in zip(at, other.shape, strict=True))
    array[(slice(None), *box)] = other.array
    return Picture(array, first.spacing, first.affine, first.turn, notes=other.notes)


def _in_order_of(first: Picture, other: Picture, first_path: Path, path: Path) -> Picture:
    """Take a companion's numbers in the file's own order of axes, turned as the image was."""
    stored = other.turn.undo(other.array)
    missing = first.turn.stored - other.turn.stored
    if missing > 0:  # a flat volume's picture: the axis of one slice is the one that the image drops
        thin = [axis for axis in range(first.turn.stored) if axis not in first.turn.axes]
        for axis in thin[:missing]:
            stored = np.expand_dims(stored, 1 + axis)
    image = first.turn.undo(first.array)
    if stored.shape[1:] != image.shape[1:]:
        raise DataError(
            f"is stored as {size(stored.shape[1:])}, but {short(first_path)} as {size(image.shape[1:])}",
            where=path,
        )
    return Picture(first.turn.apply(stored), first.spacing, first.affine, first.turn, notes=other.notes)


def _without_place(first: Picture, other: Picture, first_path: Path, path: Path) -> Picture:
    if (first.affine is None) != (other.affine is None):
        placed, bare = (first_path, path) if other.affine is None else (path, first_path)
        raise DataError(
            f"does not say where it lies, but {short(placed)} does: how to turn it is not known",
            where=bare,
            remedy=_REMEDY,
        )
    if first.shape != other.shape:
        raise DataError(f"is {size(other.shape)}, but {short(first_path)} is {size(first.shape)}", where=path)
    ours, theirs = first.spacing, other.spacing
    if ours is not None and theirs is not None and not np.allclose(ours, theirs, rtol=TOLERANCE):
        raise DataError(
            f"has pixels of {_millimetres(theirs)}, those of {short(first_path)} are {_millimetres(ours)}",
            where=path,
        )
    return other


def _apart(first: Picture, other: Picture) -> float:
    """Return by how many millimetres the corners of two arrays of one shape lie apart at most."""
    corners = np.array(np.meshgrid(*[(0, length - 1) for length in first.shape], indexing="ij"))
    ends = np.vstack([corners.reshape(len(first.shape), -1), np.ones(2 ** len(first.shape))])
    return float(np.linalg.norm(first.place @ ends - other.place @ ends, axis=0).max())


def _smallest_voxel(*pictures: Picture) -> float:
    return min(length for picture in pictures for length in picture.spacing or (np.inf,))


def _difference(first: Picture, other: Picture) -> str:
    """Say what differs most: the way the file was stored, the size of a voxel, the place."""
    stored = ["".join(_stored_axes(picture)) for picture in (first, other)]
    ours, theirs = first.spacing or (), other.spacing or ()
    if first.shape != other.shape:
        return f"it has {size(other.shape)} voxels, the image {size(first.shape)}"
    if not np.allclose(ours, theirs, rtol=TOLERANCE):
        return f"its voxels are {_millimetres(theirs)}, the image's {_millimetres(ours)}"
    far = _apart(first, other)
    ways = (
        f" (its axes are stored as {stored[1]}, the image's as {stored[0]})" if stored[0] != stored[1] else ""
    )
    return f"its corners lie up to {far:.4g} mm from the image's{ways}"


def _stored_axes(picture: Picture) -> tuple[str, ...]:
    """Return the directions in which the file's own axes run, such as ('L', 'P', 'S')."""
    ras = np.eye(4)
    for place, (axis, flip) in enumerate(zip(picture.turn.axes, picture.turn.flipped, strict=True)):
        if len(picture.turn.axes) == 3:
            ras[place, place] = 0
            ras[place, axis] = -1 if flip else 1
    return tuple(code or "?" for code in aff2axcodes(ras))


def _resampled(first: Picture, other: Picture, path: Path, *, labels: bool) -> Picture:
    """Move a companion to the image's grid: labels to the nearest, numbers linearly; outside is 0."""
    axes = len(first.shape)
    to_other = np.linalg.pinv(other.place[:, :axes])
    matrix = to_other @ first.place[:, :axes]
    offset = to_other @ (first.place[:, axes] - other.place[:, axes])
    _require_same_plane(first, other, path)
    covered = _moved(np.ones(other.shape, np.float32), matrix, offset, first.shape, order=0)
    if covered.mean() < LEAST_OVERLAP:
        raise DataError(
            f"covers {covered.mean():.0%} of its image only, too little to be resampled to it",
            where=path,
            remedy="Is it the mask of this image?",
        )
    array = [
        _moved(channel, matrix, offset, first.shape, order=0 if labels else 1) for channel in other.array
    ]
    note = f"{path.name} was resampled to its image's grid"
    return Picture(np.stack(array), first.spacing, first.affine, first.turn, notes=(*other.notes, note))


def _require_same_plane(first: Picture, other: Picture, path: Path) -> None:
    """Refuse pictures (2D) of two planes: nothing can be resampled from one to the other."""
    if len(first.shape) == 3:
        return
    normal = np.cross(first.place[:, 0], first.place[:, 1])
    normal /= np.linalg.norm(normal)
    tilt = np.abs(normal @ other.place[:, :2]).max()
    distance = abs(normal @ (other.place[:, 2] - first.place[:, 2]))
    if max(tilt, distance) > _smallest_voxel(first, other) / 2:
        raise DataError("lies in another plane than its image", where=path)


def _moved(
    array: NDArray[Any],
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    shape: tuple[int, ...],
    order: Literal[0, 1],
) -> NDArray[Any]:
    source: NDArray[Any] = array if order == 0 else array.astype(np.float32)
    return np.asarray(affine_transform(source, matrix, offset, shape, order=order, mode="grid-constant"))


def _millimetres(spacing: Sequence[float]) -> str:
    return " x ".join(f"{length:.4g}" for length in spacing) + " mm"
