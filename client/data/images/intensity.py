"""The values of an image, brought to a common range."""

import numpy as np
from numpy.typing import NDArray

from shared.job.schema import DataTable


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


def _ranged(image: NDArray[np.float32], counted: NDArray[np.float32], data: DataTable) -> NDArray[np.float32]:
    """Bring (C, *S) to a range found from the values that count, (C, n)."""
    if data.intensity == "none":
        return image
    shape = (len(image), *(1,) * (image.ndim - 1))
    if data.intensity == "zscore":
        mean = counted.mean(axis=1, dtype=np.float64, keepdims=True)
        deviation = counted.std(axis=1, dtype=np.float64, mean=mean).reshape(shape)
        centred = image - mean.reshape(shape)
        centred /= np.where(deviation > 0, deviation, 1)
        return centred.astype(np.float32)
    if data.window is not None:
        low, high = data.window
    else:
        ends = (0, 100) if data.intensity == "minmax" else (1, 99)
        low, high = (end.reshape(shape) for end in np.percentile(counted, ends, axis=1))
    width = np.where(np.greater(high, low), np.subtract(high, low), 1)
    return np.clip((image - low) / width, 0, 1).astype(np.float32)
