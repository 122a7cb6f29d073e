"""The size of an image after resampling, and which sizes only a wrong header can ask for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from client.data.formats.picture import Picture
from client.data.images.geometry import size
from shared.errors import DataError
from shared.job.data_options import DataTable

_LARGEST_CHANGE = 16  # of the number of voxels along an axis, through resampling
_MOST_VOXELS = 2**29


def target_shape(picture: Picture, data: DataTable, where: Path) -> tuple[int, ...]:
    """Return the spatial shape after resampling to the job's spacing and resizing to its size.

    Raises:
        DataError: See `resampled_shape`; or the image is to keep its scale and is larger than the size.
    """
    resampled = resampled_shape(picture, data, where) if data.size is None or data.resize == "keep" else ()
    if data.size is None:
        return resampled
    if any(own > most for own, most in zip(resampled, data.size, strict=False)):
        raise DataError(
            f"has {size(resampled)} pixels at the job's scale, and [data] size is {size(data.size)}",
            where=where,
            remedy="Take a larger size, or another `resize` than 'keep'.",
        )
    return tuple(data.size)


def resampled_shape(picture: Picture, data: DataTable, where: Path) -> tuple[int, ...]:
    """Return the spatial shape after resampling to the job's spacing, if it has one.

    Raises:
        DataError: The job wants a spacing and the file does not say its own; or the size of its voxels would
            make next to nothing of the image, or more than any memory holds.
    """
    if data.spacing is not None and picture.spacing is None:
        raise DataError(
            "says no spacing, but the job resamples to a spacing in mm",
            where=where,
            remedy="Give files that say the size of a voxel, or a job with [data] size and without spacing.",
        )
    if data.spacing is None or picture.spacing is None:
        return picture.shape
    lengths = zip(picture.shape, picture.spacing, data.spacing, strict=True)
    shape = tuple(max(1, round(number * before / after)) for number, before, after in lengths)
    _require_plausible(picture, shape, data.spacing, where)
    return shape


def _require_plausible(
    picture: Picture, shape: tuple[int, ...], wanted: Sequence[float], where: Path
) -> None:
    """Refuse a resampling that only a header in other units asks for."""
    ratios = [after / before for before, after in zip(picture.shape, shape, strict=True)]
    shrunk = any(
        ratio < 1 / _LARGEST_CHANGE and before > 1
        for ratio, before in zip(ratios, picture.shape, strict=True)
    )
    voxels = float(np.prod([float(length) for length in shape]))
    if not shrunk and max(ratios) <= _LARGEST_CHANGE and voxels <= _MOST_VOXELS:
        return
    own = " x ".join(f"{length:.4g}" for length in picture.spacing or ())
    raise DataError(
        f"says that its voxels are {own} mm; at the job's {' x '.join(f'{x:g}' for x in wanted)} mm its "
        f"{size(picture.shape)} voxels would become {size(shape)}",
        where=where,
        remedy="Is its header in another unit than mm? Correct it, or use a job with [data] size.",
    )
