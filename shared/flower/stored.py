"""Arrays that a message names by their SHA-256 instead of carrying them.

Flower's SuperLink takes 40 to 60 ms of a core to pass a model of 1.5 MB on to one site, and holds it several
times. So questions name their large arrays, and the gateway gives them to the sites from files. A site that
has an array already, as the model that ends a round also begins the next one, need not ask for it. A large
answer names its arrays too: the gateway keeps them in files, so that neither it nor the SuperLink holds them.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from mmap import mmap

from flwr.app import Array, ArrayRecord, RecordDict

from shared.recent import Recent
from shared.wire.flat_array import array_records

SMALLEST = 64 * 2**10
"""Bytes of an array that is named; smaller ones travel in the message."""

LARGEST_KEPT = 64 * 2**20
"""Bytes of an array that a site keeps; a larger one travels again, and costs no memory meanwhile."""

_NAMED = "wardround.sha256"  # where Flower says how an array is serialised
_NAME = re.compile(rb"([0-9a-f]{64}) (\d{1,15})")
_KEPT = 2  # arrays that a site keeps: two runs may take turns

Fetch = Callable[[str, int], bytes]
"""Returns an array's bytes by their SHA-256, in hexadecimal, and their number."""

Find = Callable[[str, int], bytes | mmap]
"""The same, where the bytes may be those of a file."""


def take_out(content: RecordDict, store: Callable[[bytes], str]) -> RecordDict:
    """Return a content that names its large arrays; the given one stays as it is.

    Args:
        content: With its arrays.
        store: Takes the bytes of an array and returns their SHA-256, in hexadecimal.
    """

    def named(array: Array) -> Array:
        if len(array.data) < SMALLEST:
            return array
        name = f"{store(array.data)} {len(array.data)}".encode()
        return Array(array.dtype, array.shape, _NAMED, name)

    return _replaced(content, named)


def named_bytes(content: RecordDict) -> int:
    """Return how many bytes the arrays have that a content names; 0 where it names none.

    Raises:
        ValueError: A name can't be read.
    """
    arrays = (array for record in array_records(content).values() for array in record.values())
    return sum(max(1, _parsed(array.data)[1]) for array in arrays if array.stype == _NAMED)


def put_in(content: RecordDict, find: Find) -> RecordDict:
    """Return a content with the arrays that the given one names.

    Args:
        content: That may name arrays.
        find: Returns one that it has checked.

    Raises:
        ValueError: A name can't be read; and what `find` raises.
    """

    def found(array: Array) -> Array:
        if array.stype != _NAMED:
            return array
        whole = Array(array.dtype, array.shape, "numpy.ndarray", b"")
        whole.data = find(*_parsed(array.data))  # of a file, too, which Flower takes here and not above
        return whole

    return _replaced(content, found)


def check_digest(data: bytes | mmap, digest: str) -> None:
    """Check that an array is the one that was named.

    Raises:
        ValueError: It is not.
    """
    if sha256(data).hexdigest() != digest:
        raise ValueError("names an array that came damaged")


def without_arrays(content: RecordDict) -> RecordDict:
    """Return what of a content is not an array."""
    return RecordDict({key: record for key, record in content.items() if not isinstance(record, ArrayRecord)})


class Shelf:
    """The arrays that a site received last.

    Args:
        fetch: Asks the coordinator for an array; what it returns is checked here.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._kept: Recent[str, bytes] = Recent(_KEPT)

    def complete(self, content: RecordDict) -> RecordDict:
        """Return a content with the arrays that the given one names.

        Raises:
            ValueError: A name can't be read, or what came for it is something else.
        """
        return put_in(content, self._find)

    def _find(self, digest: str, size: int) -> bytes:
        if digest in self._kept:
            return self._kept[digest]
        data = self._fetch(digest, size)
        check_digest(data, digest)
        if size <= LARGEST_KEPT:
            self._kept[digest] = data
        return data


def _parsed(name: bytes) -> tuple[str, int]:
    """Return the SHA-256 of an array, in hexadecimal, and its bytes."""
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise ValueError("names an array in a way that can't be read")
    return parts[1].decode(), int(parts[2])


def _replaced(content: RecordDict, replace: Callable[[Array], Array]) -> RecordDict:
    whole = RecordDict()
    for key, record in content.items():
        if not isinstance(record, ArrayRecord):
            whole[key] = record
            continue
        arrays = whole.setdefault(key, ArrayRecord())
        for name, array in record.items():
            arrays[name] = replace(array)  # one by one: all at once it would make other arrays of them
    return whole
