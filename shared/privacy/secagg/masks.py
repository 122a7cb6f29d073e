"""Key streams: a key of 16 bytes expanded to numbers modulo 2^64, by AES-128 in counter mode.

AES-128 has the strength of X25519, by which the keys are agreed. Each key serves for one stream in one round,
so the counter always starts at zero.
"""

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from shared.privacy.secagg import wide

KEY_BYTES = 16
_BLOCK = 16  # bytes of AES
_CHUNK = 1 << 14  # numbers handled at a time (128 KiB): stream and sum stay in the cache of one core


class KeyStream:
    """The key stream of one key, from its beginning on."""

    _ZEROS = memoryview(bytes(8 * _CHUNK))

    def __init__(self, key: bytes) -> None:
        # AES-CTR is not authenticated and need not be: this is a mask, not an encryption of a message.
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(_BLOCK))).encryptor()

    def next_into(self, buffer: bytearray, count: int) -> None:
        """Write the next `count` numbers into a buffer of `stream_buffer`, without making a new one."""
        self._encryptor.update_into(self._ZEROS[: 8 * count], buffer)


def stream_buffer() -> tuple[bytearray, NDArray[np.uint64]]:
    """Return a buffer for `KeyStream.next_into` and its numbers, which share its memory."""
    buffer = bytearray(8 * _CHUNK + _BLOCK - 1)  # `update_into` asks for this much more
    return buffer, np.frombuffer(buffer, dtype="<u8", count=_CHUNK)


def add_into(values: NDArray[np.uint64], addend: NDArray[np.uint64], words: int = 1) -> None:
    """Add numbers in place, modulo 2^64, or modulo 2^256 where a number has several words."""
    if words == 1:
        np.add(values, addend, out=values)
    else:
        wide.add(values, addend)


def take_from(values: NDArray[np.uint64], taken: NDArray[np.uint64], words: int = 1) -> None:
    """Subtract numbers in place; as `add_into`."""
    if words == 1:
        np.subtract(values, taken, out=values)
    else:
        wide.subtract(values, taken)


def add_masks(
    values: NDArray[np.uint64], plus: Sequence[bytes], minus: Sequence[bytes], words: int = 1
) -> None:
    """Add and subtract key streams in place.

    Args:
        values: Shape (n · words,).
        plus: Keys whose streams are added.
        minus: Keys whose streams are subtracted.
        words: Of a number: 1, modulo 2^64, or `wide.WORDS`, modulo 2^256.
    """
    added, taken = [KeyStream(key) for key in plus], [KeyStream(key) for key in minus]
    buffer, numbers = stream_buffer()
    for begin in range(0, values.size, _CHUNK):
        part = values[begin : begin + _CHUNK]
        mask = numbers[: part.size]
        for stream in added:
            stream.next_into(buffer, part.size)
            add_into(part, mask, words)
        for stream in taken:
            stream.next_into(buffer, part.size)
            take_from(part, mask, words)
