"""Arrays in records: what Flower itself writes and reads, with fewer copies, and nothing unpickled."""

import io

import numpy as np
import pytest
from flwr.app import Array
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from shared.wire.flat_array import to_array, view

VALUES = npst.arrays(
    st.sampled_from(["float32", "float64", "int64", "uint8"]), npst.array_shapes(min_dims=0, min_side=0)
)


@given(VALUES)
def test_the_bytes_are_those_of_flower(values: np.ndarray) -> None:
    assert to_array(values).data == Array(values).data


@given(VALUES)
def test_what_was_written_is_read(values: np.ndarray) -> None:
    read = view(to_array(values))
    np.testing.assert_array_equal(read, values)
    assert read.dtype == values.dtype
    assert not read.flags.writeable


@pytest.mark.parametrize(
    "values", [np.array([{}], dtype=object), np.asfortranarray(np.ones((2, 3))), np.empty(3, "V0")]
)
def test_other_arrays_are_refused(values: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    with pytest.raises(ValueError, match="does not hold plain values"):
        view(Array("float32", (1,), "numpy.ndarray", buffer.getvalue()))


@given(st.integers(1, 40))
def test_an_array_cut_short_or_with_a_tail_is_refused(count: int) -> None:
    data = to_array(np.arange(40, dtype=np.uint8)).data
    for wrong in (data[:-count], data + b"x" * count):
        with pytest.raises(ValueError, match="length"):
            view(Array("uint8", (40,), "numpy.ndarray", wrong))


def test_torch_formats_are_refused() -> None:
    with pytest.raises(ValueError, match="not in NumPy's format"):
        view(Array("float32", (1,), "torch.tensor", b""))


@pytest.mark.parametrize(
    "tail",
    [b"{", b"'''", b"\0", b"(" * 9000, b"{'descr': '<f4', 'fortran_order': False, 'shape': (1e3,), }\n"],
)
def test_a_hostile_header_is_refused(tail: bytes) -> None:
    data = b"\x93NUMPY\x01\x00" + len(tail).to_bytes(2, "little") + tail
    with pytest.raises(ValueError, match="does not hold plain values"):
        view(Array("float32", (1,), "numpy.ndarray", data))
