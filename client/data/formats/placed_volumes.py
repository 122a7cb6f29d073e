"""Volumes whose file says where they lie: turned the same way, whatever format they are of."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.formats.picture import Picture, Turn


def placed(
    array: NDArray[Any],
    affine: NDArray[np.float64],
    dimensions: int | None,
    *,
    located: bool = True,
    notes: tuple[str, ...] = (),
) -> Picture:
    """Return a volume as a picture turned upright.

    Args:
        array: (C, x, y, z), in the file's own order of axes.
        affine: (4, 4), the file's voxels to RAS+ in mm.
        dimensions: 3 keeps a volume of one slice a volume; otherwise it becomes a picture.
        located: Whether the file says where it lies; without, its affine says the size of a voxel alone.
        notes: See `Picture`.

    Raises:
        ValueError: The affine squeezes an axis to nothing, or is not finite.
    """
    if not np.isfinite(affine).all():
        raise ValueError("its affine has numbers that are not finite")
    stored = array.shape[1:]
    turn = Turn.upright(affine, stored, flat=dimensions != 3)
    where = turn.place(affine, stored)
    spacing = tuple(float(length) for length in np.linalg.norm(where[:, :-1], axis=0))
    return Picture(turn.apply(array), spacing, where if located else None, turn, notes=notes)
