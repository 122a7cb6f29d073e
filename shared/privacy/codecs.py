"""How the numbers of an update become bytes, and back: in full, in 8 bits, or only the largest of them.

Each codec gives exactly `length` bytes for `size` numbers, so what arrives is measured before it is looked
at, and nothing can make the receiver take more memory than the model does. All numbers are little-endian.
"""

import math
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import JobError
from shared.wire.messages import MessageError

Precision = Literal["float32", "bfloat16", "float16"]
Vector = NDArray[np.float32]
BLOCK = 256  # numbers with one scale: 4 bytes for 256, and an outlier coarsens no others
_LEVELS = 127


class Codec(Protocol):
    """Encodes vectors of one length.

    Attributes:
        size: Numbers of a vector.
        length: Bytes of its encoding, always.
    """

    size: int
    length: int

    def encode(self, values: Vector) -> bytes:
        """Return the encoding of finite values, shape (size,).

        Raises:
            JobError: A number is beyond the precision's range.
        """
        ...

    def decode(self, content: bytes) -> Vector:
        """Return the values, shape (size,), all finite.

        Raises:
            MessageError: The bytes are not an encoding.
        """
        ...


class Dense:
    """Every number, in a precision.

    Rounding to nearest: the relative error is at most 2^-11 for float16 (2^-25 absolute below 6e-5) and 2^-8
    for bfloat16.
    """

    def __init__(self, size: int, precision: Precision) -> None:
        self.size = size
        self.length = size * (4 if precision == "float32" else 2)
        self._precision = precision

    def encode(self, values: Vector) -> bytes:
        """See the protocol."""
        if self._precision == "float32":
            return values.astype("<f4").tobytes()
        kind = torch.float16 if self._precision == "float16" else torch.bfloat16
        rounded = torch.tensor(values).to(kind)
        if not rounded.isfinite().all():
            raise JobError(
                f"the update has a number beyond the range of {self._precision}",
                where="[update] precision",
                remedy="Take another precision, or lower training.learning_rate.",
            )
        return rounded.view(torch.int16).numpy().astype("<i2").tobytes()

    def decode(self, content: bytes) -> Vector:
        """See the protocol."""
        _check_length(content, self.length)
        if self._precision == "bfloat16":  # the upper half of a float32
            values = (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(content, "<f4" if self._precision == "float32" else "<f2")
        return _finite(values.astype(np.float32, copy=False))


class Int8:
    """A scale for each block of 256 numbers, then each number as a whole multiple of it, -127 to 127.

    The error is at most half a scale, 1/254 of the largest number in the block (as in QSGD, Alistarh et al.
    2017, with rounding to nearest, since error feedback takes care of the bias).
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._blocks = math.ceil(size / BLOCK)
        self.length = 4 * self._blocks + size

    def encode(self, values: Vector) -> bytes:
        """See the protocol."""
        blocks = self._padded(values)
        scales = np.abs(blocks).max(axis=1, initial=0) / np.float32(_LEVELS)
        divisors = np.where(scales > 0, scales, np.float32(1))[:, None]
        levels = np.clip(np.rint(blocks / divisors), -_LEVELS, _LEVELS).astype(np.int8)
        return scales.astype("<f4").tobytes() + levels.reshape(-1)[: self.size].tobytes()

    def decode(self, content: bytes) -> Vector:
        """See the protocol."""
        _check_length(content, self.length)
        scales = np.frombuffer(content, "<f4", self._blocks).astype(np.float32)
        levels = np.frombuffer(content, np.int8, self.size, offset=4 * self._blocks)
        if not (scales >= 0).all() or (levels < -_LEVELS).any():  # NaN is not
            raise MessageError("carries 8-bit numbers that no site encodes")
        with np.errstate(over="ignore", invalid="ignore"):
            values = self._padded(levels.astype(np.float32)) * scales[:, None]
        return _finite(values.reshape(-1)[: self.size])

    def _padded(self, values: Vector) -> Vector:
        padded = np.zeros(self._blocks * BLOCK, dtype=np.float32)
        padded[: self.size] = values
        return padded.reshape(self._blocks, BLOCK)


class TopK:
    """The places of the k largest numbers, ascending, as uint32, then the numbers in a precision.

    Of numbers equally large, those that stand first (Stich et al. 2018, "Sparsified SGD with memory"; Lin et
    al. 2018, "Deep gradient compression").
    """

    def __init__(self, size: int, keep: float, precision: Precision) -> None:
        self.size = size
        self._count = math.ceil(keep * size)
        self._values = Dense(self._count, precision)
        self.length = 4 * self._count + self._values.length

    def encode(self, values: Vector) -> bytes:
        """See the protocol."""
        places = self._largest(np.abs(values))
        return places.astype("<u4").tobytes() + self._values.encode(values[places])

    def _largest(self, sizes: Vector) -> NDArray[np.int64]:
        if not self._count:
            return np.empty(0, dtype=np.int64)
        least = np.partition(sizes, self.size - self._count)[self.size - self._count]
        above = np.flatnonzero(sizes > least)
        equal = np.flatnonzero(sizes == least)[: self._count - above.size]
        return np.sort(np.concatenate([above, equal]))

    def decode(self, content: bytes) -> Vector:
        """See the protocol."""
        _check_length(content, self.length)
        places = np.frombuffer(content, "<u4", self._count).astype(np.int64)
        if self._count and (places[-1] >= self.size or (np.diff(places) <= 0).any()):
            raise MessageError("carries places of numbers that are not ascending or not in the model")
        values = np.zeros(self.size, dtype=np.float32)
        values[places] = self._values.decode(content[4 * self._count :])
        return values


def _check_length(content: bytes, length: int) -> None:
    if len(content) != length:
        raise MessageError(f"carries {len(content)} bytes of an update instead of {length}")


def _finite(values: Vector) -> Vector:
    if not np.isfinite(values).all():
        raise MessageError("carries numbers that are not finite")
    return values
