"""Arrays of NumPy: numbers without a place."""

from pathlib import Path

import numpy as np

from client.data.formats.limits import RAW, require_plausible
from client.data.formats.picture import Picture, Turn
from shared.errors import DataError

_MOST_CHANNELS = 4
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_WIDTH = {(1, 0): 2, (2, 0): 4}  # bytes of the header's length


def read_array(path: Path, dimensions: int | None) -> Picture:
    """Read a `.npy` file.

    Pictures are (rows, columns) or (rows, columns, channels) with at most 4 channels, volumes (x, y, z) or
    (channels, x, y, z).

    Args:
        path: The file.
        dimensions: 2 or 3; None takes a third axis of at most 4 for channels.

    Raises:
        DataError: It has other axes.
        ValueError: It holds Python objects.
    """
    require_plausible_array(path)
    array = np.load(path, allow_pickle=False)
    if array.dtype.kind not in "biufc":
        raise DataError(f"holds {array.dtype}, not numbers", where=path)
    channels_last = array.ndim == 3 and dimensions != 3 and array.shape[-1] <= _MOST_CHANNELS
    if array.ndim == 2 or channels_last:
        picture = np.moveaxis(array, -1, 0) if channels_last else array[None]
        return Picture(np.ascontiguousarray(picture), None, None, Turn.none(2))
    if array.ndim in (3, 4):
        return Picture(array if array.ndim == 4 else array[None], None, None, Turn.none(3))
    raise DataError(f"has {array.ndim} axes", where=path)


def require_plausible_array(path: Path) -> None:
    """Look at the header before memory is taken; raises ValueError where it is none."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"it is of version {version[0]}.{version[1]}")
        held, begin = path.stat().st_size, file.tell()
        length = int.from_bytes(file.read(_WIDTH[version]), "little")
        if length > held:  # NumPy would take memory for it
            raise ValueError(f"its header says that it has {length} bytes")
        file.seek(begin)
        shape, _, dtype = _HEADERS[version](file)
    require_plausible(path, shape, dtype.itemsize, RAW, held)
