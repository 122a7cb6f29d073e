"""NumPy arrays in Flower's records, in Flower's own format, without the copies that `Array` makes.

`Array(values)` and `array.numpy()` copy the values four and two times, which for small models is much of what
a message costs.
"""

import math
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array
from numpy.lib import format as npy
from numpy.typing import NDArray

_KIND = "numpy.ndarray"  # Flower's name for an array in NumPy's .npy format


def to_array(values: NDArray[Any]) -> Array:
    """Return the array that Flower's `Array(values)` is, with one copy of the values."""
    values = np.asarray(values, order="C")
    header = BytesIO()
    npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(values))
    data = b"".join((header.getvalue(), values.reshape(-1).view(np.uint8).data))
    return Array(dtype=str(values.dtype), shape=values.shape, stype=_KIND, data=data)


def view(array: Array) -> NDArray[Any]:
    """Return the values of an array, read-only, in the memory of the array itself.

    Raises:
        ValueError: It is not one array of plain values in NumPy's format, in C order. It may come from a
            stranger: nothing is unpickled.
    """
    if array.stype != _KIND:
        raise ValueError(f"is not in NumPy's format but in '{array.stype[:40]}'")
    head = BytesIO(array.data)
    try:
        if npy.read_magic(head) != (1, 0):
            raise ValueError("has another version of NumPy's format")
        shape, in_fortran_order, dtype = npy.read_array_header_1_0(head)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError) as error:
        raise ValueError(f"can't be read ({type(error).__name__})") from None
    if in_fortran_order or dtype.hasobject or not dtype.itemsize:
        raise ValueError("does not hold plain values in C order")
    start = head.tell()
    if min(shape, default=0) < 0 or len(array.data) - start != math.prod(shape) * dtype.itemsize:
        raise ValueError("has another length than its header says")
    return np.frombuffer(array.data, dtype, offset=start).reshape(shape)
