"""NumPy arrays in Flower's records, in Flower's own format, without the copies that `Array` makes.

`Array(values)` and `array.numpy()` copy the values four and two times, which for small models is much of what
a message costs.
"""

import math
import re
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from numpy.lib import format as npy
from numpy.typing import NDArray

_KIND = "numpy.ndarray"  # Flower's name for an array in NumPy's .npy format

# NumPy's own reader hands the header to Python's parser, whose errors on hostile text have no end.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00.."
    rb"\{'descr': '(?P<dtype>\|[iu]1|<[fiu][248])', 'fortran_order': False, "
    rb"'shape': \((?P<shape>|\d{1,12},|\d{1,12}(?:, \d{1,12}){1,7})\), \} *\n",
    re.DOTALL,
)


def array_records(content: RecordDict) -> dict[str, ArrayRecord]:
    """Return the records of a content that hold arrays, by key.

    What Flower's `content.array_records` gives refers to itself and to the content: a large model would keep
    its memory after it was let go, until Python looks for such circles among old objects.
    """
    return {key: record for key, record in content.items() if isinstance(record, ArrayRecord)}


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
    header = _HEADER.match(array.data)
    if header is None:
        raise ValueError("does not hold plain values in C order, in NumPy's format 1.0")
    dtype = np.dtype(header["dtype"].decode())
    shape = tuple(map(int, header["shape"].replace(b",", b" ").split()))
    start = header.end()
    if len(array.data) - start != math.prod(shape) * dtype.itemsize:
        raise ValueError("has another length than its header says")
    return np.frombuffer(array.data, dtype, offset=start).reshape(shape)
