"""A DICOM file as bytes: pydicom takes memory for all lengths that are claimed, and reads past an end."""

import io
import zlib
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from client.data.formats.heard import warnings_heard
from client.data.formats.limits import MOST_VALUES
from shared.errors import DataError

_UNKNOWN = 0xFFFFFFFF  # the length of a value that ends with a delimiter
_CUT = "End of file reached"  # pydicom warns, and goes on
_PIECE = 2**20


def read_whole(path: Path, *, force: bool = True, without_pixels: bool = False) -> Dataset:
    """Read a DICOM file, and no more memory than it has bytes.

    Args:
        path: The file.
        force: Whether it may lack the preamble.
        without_pixels: Stop before the pixels.

    Raises:
        DataError: It was cut short, or unpacks to more than any memory holds.
    """
    with _File(path) as file, warnings_heard() as said:
        dataset = pydicom.dcmread(file, force=force, stop_before_pixels=without_pixels)
    if any(_CUT in text for text in said) or not _is_whole(dataset):
        raise DataError("was cut short", where=path, remedy="Copy or export it again.")
    return dataset


class _File(io.BufferedReader):
    """A file that gives what it has, and takes no memory for what it has not."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._path, self._size = path, path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:  # a deflated dataset is asked for as a whole
            return self._unpacked(super().read())
        return super().read(min(size, max(0, self._size - self.tell())))

    def _unpacked(self, content: bytes) -> bytes:
        """Return the content where it unpacks to what memory holds."""
        inflater, count, left = zlib.decompressobj(-zlib.MAX_WBITS), 0, content
        while left and not inflater.eof:
            count += len(inflater.decompress(left, _PIECE))
            left = inflater.unconsumed_tail
            if count > MOST_VALUES:
                raise DataError("unpacks to more than any memory holds", where=self._path)
        return content


def _is_whole(dataset: Dataset) -> bool:
    """Say if every value is as long as its element's head says."""
    for element in dataset.elements():
        if element.VR == "SQ" and not isinstance(element.value, bytes):
            if not _all_whole(element.value or ()):
                return False
        elif getattr(element, "length", _UNKNOWN) not in (_UNKNOWN, len(element.value or b"")):
            return False
    return True


def _all_whole(items: Sequence[Dataset]) -> bool:
    return all(_is_whole(item) for item in items)
