"""A DICOM file as bytes: pydicom takes memory for all lengths that are claimed, and reads past an end."""

import io
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from client.data.formats.library_messages import warnings_heard
from client.data.formats.limits import MOST_VALUES
from shared.errors import DataError

UNDEFINED = 0xFFFFFFFF
"""Length that a value has which ends with a delimiter, as packed pixels do."""

_CUT = "End of file reached"  # pydicom warns, and goes on
_PIECE = 2**20
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # with a point, with more digits, whole numbers


def read_whole(path: Path, *, force: bool = True, without_pixels: bool = False) -> Dataset:
    """Read a DICOM file, and no more memory than it has bytes.

    Args:
        path: The file.
        force: Whether it may lack the preamble.
        without_pixels: Stop before the pixels.

    Raises:
        DataError: It was cut short, says one thing twice, or unpacks to more than any memory holds.
    """
    tags: list[int] = []

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        tags.append(int(tag))
        return without_pixels and tag in _PIXELS

    with _File(path) as file, warnings_heard() as said:
        dataset = read_partial(file, stop_when=stop, force=force)
    if twice := next((tag for tag, count in Counter(tags).items() if count > 1), None):
        raise DataError(
            f"has the element ({twice >> 16:04x},{twice & 0xFFFF:04x}) {tags.count(twice)} times: which of "
            "them counts is not known",
            where=path,
            remedy="It is damaged: copy or export it again.",
        )
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
        elif getattr(element, "length", UNDEFINED) not in (
            UNDEFINED,
            len(element.value or b""),
        ):
            return False
    return True


def _all_whole(items: Sequence[Dataset]) -> bool:
    return all(_is_whole(item) for item in items)
