"""One grey picture of an image, for what is looked at beside training."""

import numpy as np
from numpy.typing import NDArray


def grey(array: NDArray[np.floating]) -> NDArray[np.float32] | None:
    """Return the mean of an image's channels, its values from 0 to 1; None where it has a single value.

    Args:
        array: (C, rows, columns) or (C, x, y, z); of a volume the middle slice of the last axis counts.
    """
    channels = array if array.ndim == 3 else array[..., array.shape[-1] // 2]
    picture = channels.mean(axis=0, dtype=np.float32)
    low, high = float(picture.min()), float(picture.max())
    return None if low == high else (picture - low) / (high - low)
