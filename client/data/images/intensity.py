"""The values of an image, brought to a common range."""

import numpy as np
from numpy.typing import NDArray

from shared.job.data_options import DataTable

_Ends = tuple[NDArray[np.floating] | float, NDArray[np.floating] | float]


def intensity(
    image: NDArray[np.float32], data: DataTable, tissue: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Bring the values of (C, *S) to a common range, each channel by itself; a constant channel becomes 0.

    Args:
        image: (C, *S).
        data: Says which range.
        tissue: (*S), False where the file says that there is none (DICOM's pixel padding): it counts in no
            statistic and becomes the lowest value. None: everywhere.
    """
    if tissue is None or tissue.all() or not tissue.any():
        return _ranged(image, image.reshape(len(image), -1), data)
    inside = image[:, tissue]
    return np.stack(
        [np.where(tissue, channel, channel[tissue].min()) for channel in _ranged(image, inside, data)]
    )


def scale_of(
    image: NDArray[np.float32], data: DataTable, tissue: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return the values that 0 and 1 of an image stand for, and so its own units: (C, 2), lowest and width.

    The value of a file is the lowest one plus what `intensity` returned times the width; what it has cut off
    at either end is gone.

    Args:
        image: As for `intensity`.
        data: The same.
        tissue: The same.
    """
    channels = len(image)
    counted = image.reshape(channels, -1)
    if tissue is not None and not tissue.all() and tissue.any():
        counted = image[:, tissue]
    ends = (0.0, 1.0) if data.intensity == "none" else _ends(counted, data)
    columns = [np.broadcast_to(np.reshape(end, (-1,)), (channels,)) for end in ends]
    return np.stack(columns, axis=1).astype(np.float32)


def _ranged(image: NDArray[np.float32], counted: NDArray[np.float32], data: DataTable) -> NDArray[np.float32]:
    """Bring (C, *S) to a range found from the values that count, (C, n)."""
    if data.intensity == "none":
        return image
    shape = (len(image), *(1,) * (image.ndim - 1))
    low, width = (np.reshape(end, shape) if np.ndim(end) else end for end in _ends(counted, data))
    if data.intensity == "zscore":
        centred = image - low
        centred /= width
        return centred.astype(np.float32)
    return np.clip((image - low) / width, 0, 1).astype(np.float32)


def _ends(counted: NDArray[np.float32], data: DataTable) -> _Ends:
    """Return what becomes 0, and how much more becomes 1: numbers, or one for each channel (C,)."""
    if data.intensity == "zscore":
        mean = counted.mean(axis=1, dtype=np.float64, keepdims=True)
        deviation = counted.std(axis=1, dtype=np.float64, mean=mean)
        return mean[:, 0], np.where(deviation > 0, deviation, 1)
    if data.window is not None:
        low, high = data.window
    else:
        ends = (0, 100) if data.intensity == "minmax" else (1, 99)
        low, high = np.percentile(counted, ends, axis=1)
    return low, np.where(np.greater(high, low), np.subtract(high, low), 1)
