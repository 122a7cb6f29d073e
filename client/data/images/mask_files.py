"""Masks in several files, one for each class: they become one map of labels."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from client.data.formats.picture import Picture
from client.data.images.masks import class_indices
from shared.errors import DataError

Mask = Path | tuple[Path, ...]
"""A map of labels, or a file for each class in the order of the job's classes."""

_LOSSY = (".jpg", ".jpeg")
_SINGLE = (".png", ".bmp", ".tif", ".tiff", ".nii", ".nii.gz", ".mha", ".nrrd")


def mask_files(mask: Mask | None) -> tuple[Path, ...]:
    """Return the files of a mask."""
    if mask is None:
        return ()
    return mask if isinstance(mask, tuple) else (mask,)


def masks_in(path: Path) -> tuple[Path, ...]:
    """Return the masks of one structure each in a folder; none of a file or a DICOM series."""
    if not path.is_dir():
        return ()
    return tuple(file for file in sorted(path.iterdir()) if file.name.lower().endswith(_SINGLE))


def one_map(pictures: Sequence[Picture], paths: Sequence[Path], classes: int) -> Picture:
    """Return one map of labels, in which the first file's structure is 1, the second's 2, and so on.

    Args:
        pictures: The masks, on one grid; a single one is returned as it is.
        paths: Their files.
        classes: How many there must be; 0 where nobody has said it.

    Raises:
        DataError: There are more or fewer; two overlap; one holds more than one structure, or is a JPEG.
    """
    if len(pictures) == 1:
        return pictures[0]
    if classes and len(pictures) != classes:
        raise DataError(
            f"is one of {len(pictures)} files, but the job has {classes} "
            f"{'class' if classes == 1 else 'classes'}",
            where=paths[0],
            remedy="Name one file for each class, in the order of [task] classes, or one map of labels.",
        )
    labels = np.zeros(pictures[0].shape, np.min_scalar_type(len(pictures)))
    for number, (picture, path) in enumerate(zip(pictures, paths, strict=True), 1):
        if path.suffix.lower() in _LOSSY:
            raise DataError("is a JPEG, whose values blur", where=path, remedy="Save masks as PNG.")
        structure = class_indices(picture, path, 1) != 0
        if shared := labels[structure & (labels != 0)].tolist():
            raise DataError(
                f"overlaps {paths[shared[0] - 1].name} in {len(shared)} "
                f"{'pixel' if labels.ndim == 2 else 'voxel'}{'s' * (len(shared) != 1)}",
                where=path,
                remedy="A pixel is of one of them: cut one out of the other.",
            )
        labels[structure] = number
    return replace(pictures[0], array=labels[None])
