"""Masks are maps of labels: their values are looked at before they become the indices of classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from client.data.formats.picture import Picture
from shared.errors import DataError

BACKGROUND = "background"
INTEGER = 0.01  # how far a label may lie from a whole number: some programs store scaled labels
MOST_LABELS = 256  # a map of more values looks like an image
_ENDS, _EDGE = (
    32,
    2,
)  # of blurred masks: how near to black or white a value lies, how many pixels an edge is wide
_SHOWN = 6
_ALIKE = 0.5  # of neighbouring pixels of objects that have one value; of an image far fewer have
_LARGEST = 2**53  # of a label: whole numbers beyond are not exact


def class_indices(
    picture: Picture,
    path: Path,
    classes: int,
    labels: Mapping[int, int] | None = None,
    mask: Literal["labels", "any"] = "labels",
    *,
    lossy: bool = False,
) -> NDArray[np.uint8]:
    """Return a mask as class indices (*S): 0 is the background, 1 to `classes` the structures.

    Without `labels` the values are the indices; of one class the structure may also be the type's highest
    value, as 255, with smooth edges.

    Args:
        picture: One channel of labels.
        path: Its file, for the error.
        classes: Number of structures.
        labels: Value in the file -> index of the class; 0 for the background.
        mask: 'any' makes one structure of whatever is not 0.
        lossy: Whether the values may be blurred between two ends (JPEG).

    Raises:
        DataError: It has several channels, values that are not labels, or labels that mean nothing.
    """
    values = label_map(picture, path, lossy=lossy)
    if mask == "any":
        return (values != 0).astype(np.uint8)
    found = _different(values)
    if labels is not None:
        return _mapped(values, found, {0: 0, **labels}, path)
    if classes == 1:
        return _one_structure(values, found, picture.array.dtype, path)
    beyond = found[(found < 0) | (found > classes)]
    if beyond.size:
        raise DataError(
            f"holds {_named(beyond)}, but the values of {classes} classes are 0 to {classes}",
            where=path,
            remedy=_mapping(found, "Say which value is which class: [task] labels = "),
        )
    return values.astype(np.uint8)


def label_map(picture: Picture, path: Path, *, lossy: bool = False) -> NDArray[Any]:
    """Return the labels of a mask as whole numbers (*S), of the file's own type where they are.

    Raises:
        DataError: It has several channels, or looks like an image.
    """
    if len(picture.array) != 1:
        raise DataError(f"has {len(picture.array)} channels, but a mask has one", where=path)
    raw = picture.array[0]
    if lossy:
        raw = _sharpened(raw, path)
    if raw.dtype.kind == "c":
        raise DataError("has complex numbers, but a mask holds labels", where=path)
    if raw.dtype.kind == "f":
        if not np.isfinite(raw).all():
            raise DataError("has values that are not finite numbers", where=path)
        if np.abs(raw).max(initial=0) > _LARGEST:
            raise DataError(f"holds {float(np.abs(raw).max()):.3g}: it looks like an image", where=path)
        rounded = np.rint(raw)
        off = np.abs(raw - rounded)
        if (off > INTEGER).any():
            value = raw[np.unravel_index(off.argmax(), off.shape)]
            raise DataError(
                f"holds {float(value)!r}, and labels are whole numbers: it looks like an image",
                where=path,
                remedy="Save labels; of probabilities, those above a threshold as 1.",
            )
        raw = rounded.astype(np.int64)
    values: NDArray[Any] = raw.astype(np.uint8) if raw.dtype.kind == "b" else raw
    if values.min(initial=0) < 0:
        raise DataError(
            f"holds {values.min()}: labels are not below 0, so it looks like an image", where=path
        )
    return values


def values_of(picture: Picture, path: Path, *, lossy: bool = False) -> NDArray[np.int64]:
    """Return the labels that a mask holds, without the background.

    Raises:
        DataError: As `label_map`; or it has too many values for a map of labels.
    """
    values = label_map(picture, path, lossy=lossy)
    found = _different(values)
    if found.size > MOST_LABELS and not is_map(values):
        raise _looks_like_an_image(found, path)
    return found[found != 0]


def is_map(values: NDArray[Any]) -> bool:
    """Say whether most neighbouring pixels, neither of them background, have one value (*S)."""
    same = both = 0
    for axis in range(values.ndim):
        moved = np.moveaxis(values, axis, 0)
        inside = (moved[1:] != 0) & (moved[:-1] != 0)
        both += int(inside.sum())
        same += int((inside & (moved[1:] == moved[:-1])).sum())
    return same >= _ALIKE * both


def _different(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values that are there, each once and in order."""
    if values.dtype == np.uint8 and values.size:
        highest = values.max()
        there = np.count_nonzero(values)
        if not there or np.count_nonzero(values == highest) == there:  # as in most masks: a glance is enough
            ends = [highest] if there == values.size else [0, highest] if there else [0]
            return np.array(ends, np.uint8)
        return np.flatnonzero(np.bincount(values.ravel(), minlength=MOST_LABELS)).astype(np.uint8)
    return np.unique(values)


def _one_structure(
    values: NDArray[np.int64], found: NDArray[np.int64], dtype: np.dtype[Any], path: Path
) -> NDArray[np.uint8]:
    there = found[found != 0]
    highest = np.iinfo(dtype).max if dtype.kind in "iu" else 255
    if there.size == 0 or (there.size == 1 and there[0] in (1, 255, highest)):
        return (values != 0).astype(np.uint8)
    if there.size == 1:
        raise DataError(
            f"holds {there[0]} where one class is 1 or {highest}",
            where=path,
            remedy=_mapping(found, "Say which value is the structure: [task] labels = "),
        )
    if dtype == np.uint8 and there[-1] == 255 and _is_blurred(values):
        return (values > 127).astype(np.uint8)
    if found.size > MOST_LABELS:
        raise _looks_like_an_image(found, path)
    raise DataError(
        f"holds {there.size} values ({_named(there)}), but the job has one class",
        where=path,
        remedy="If each is an instance of the structure: [task] name = 'instances' finds each one, and "
        "mask = 'any' makes one structure of them. "
        + _mapping(found, "If they are several structures: [task] labels = "),
    )


def _mapped(
    values: NDArray[np.int64], found: NDArray[np.int64], labels: Mapping[int, int], path: Path
) -> NDArray[np.uint8]:
    unknown = [int(value) for value in found if int(value) not in labels]
    if len(unknown) > MOST_LABELS:
        raise _looks_like_an_image(found, path)
    if unknown:
        raise DataError(
            f"holds {_named(unknown)}, which [task] labels does not name",
            where=path,
            remedy=f"Add it to [task] labels, with a class or '{BACKGROUND}'.",
        )
    table = np.zeros(int(found.max(initial=0)) + 1, np.uint8)
    for value in found:
        table[value] = labels[int(value)]
    return table[values]


def _sharpened(raw: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return a mask of one structure that was blurred (JPEG) as 0 and 255.

    Raises:
        DataError: Not only the structure's edges lie between black and white.
    """
    if not _is_blurred(raw):
        raise DataError(
            "looks like an image: values between black and white lie not only at edges",
            where=path,
            remedy="Save masks as PNG, with one number for each structure.",
        )
    return np.where(raw > 127, 255, 0).astype(np.uint8)


def _is_blurred(raw: NDArray[Any]) -> bool:
    """Say if whatever lies between black and white touches white: the edges of one structure."""
    between = (raw > _ENDS) & (raw < 255 - _ENDS)
    from scipy.ndimage import binary_dilation  # noqa: PLC0415 (few masks need it)

    return not (between & ~binary_dilation(raw >= 255 - _ENDS, iterations=_EDGE)).any()


def _looks_like_an_image(found: NDArray[np.int64], path: Path) -> DataError:
    return DataError(
        f"holds {found.size} values from {found.min()} to {found.max()}: it looks like an image, not a mask",
        where=path,
        remedy="Does the column 'mask' name the right files? A map of that many instances needs a job whose "
        "task is 'instances'.",
    )


def _named(values: Sequence[int] | NDArray[np.int64]) -> str:
    shown = ", ".join(str(int(value)) for value in values[:_SHOWN])
    word = "the value" if len(values) == 1 else "the values"
    return f"{word} {shown}" + (" and more" if len(values) > _SHOWN else "")


def _mapping(found: NDArray[np.int64], begin: str) -> str:
    """Return a remedy that shows how the values at hand are mapped."""
    names = ", ".join(f'"{int(value)}" = "..."' for value in found[found != 0][:_SHOWN])
    return f"{begin}{{ {names} }}."
