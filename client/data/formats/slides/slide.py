"""What all slides are: levels of one picture, of which parts are read."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import DataError

_BLOCK = 2048  # pixels of a side that are read at once
_THUMBNAIL = 2048  # pixels of the longer side, at most
_FINER, _SAME = 1.1, 1.01
_SIZES = (0.02, 50.0)  # micrometres of a pixel: others are of a printer or damaged


@dataclass(frozen=True)
class Level:
    """One copy of the picture.

    Attributes:
        shape: (rows, columns).
        mpp: Micrometres between rows, between columns.
        data: What its reader needs to read it.
    """

    shape: tuple[int, int]
    mpp: tuple[float, float]
    data: Any


class Slide(ABC):
    """A slide that is open.

    Args:
        path: The file or folder.
        levels: The finest first.

    Attributes:
        has_profile: Whether it says by a profile (ICC) what its colours look like; it isn't applied.

    Raises:
        DataError: It says no size of a pixel.
    """

    has_profile: bool = False

    def __init__(self, path: Path, levels: list[Level]) -> None:
        self.path, self.levels = path, levels
        if not all(_SIZES[0] <= length <= _SIZES[1] for level in levels for length in level.mpp):
            raise DataError(
                "does not say how large its pixels are (micrometres per pixel)",
                where=path,
                remedy="Convert it anew with its resolution, or cut its tiles with another program.",
            )

    @abstractmethod
    def read(self, level: Level, top: int, left: int, rows: int, columns: int) -> NDArray[np.uint8]:
        """Return a part of a level that lies within it, (rows, columns, 3), RGB.

        Raises:
            DataError: It is damaged, or packed in a way that is not read.
        """

    @abstractmethod
    def close(self) -> None:
        """Close its files."""

    def level_for(self, mpp: float) -> Level:
        """Return the coarsest level that is not coarser than a resolution.

        Raises:
            DataError: The slide was scanned with fewer pixels.
        """
        finest = max(self.levels[0].mpp)
        if finest > mpp * _FINER:
            raise DataError(
                f"was scanned at {finest:.3g} micrometres per pixel, and the job wants {mpp:g}",
                where=self.path,
                remedy=f"Use a job with [data] mpp of {finest:.3g} or more.",
            )
        fitting = [level for level in self.levels if max(level.mpp) <= mpp * _SAME]
        return fitting[-1] if fitting else self.levels[0]

    def thumbnail(self, least: int = 0) -> NDArray[np.uint8]:
        """Return the whole slide made small, block by block, (rows, columns, 3).

        Args:
            least: Pixels of its longer side, where a level has as many; at most 2048.
        """
        level = next((one for one in reversed(self.levels) if max(one.shape) >= least), self.levels[0])
        rows, columns = level.shape
        factor = max(1, -(-max(rows, columns) // _THUMBNAIL))
        block = _BLOCK // factor * factor or factor
        small = np.zeros((-(-rows // factor), -(-columns // factor), 3), np.uint8)
        for top in range(0, rows, block):
            for left in range(0, columns, block):
                part = self.read(level, top, left, min(block, rows - top), min(block, columns - left))
                reduced = np.asarray(Image.fromarray(part).reduce(factor) if factor > 1 else part)
                small[top // factor :, left // factor :][: len(reduced), : reduced.shape[1]] = reduced
        return small


@contextmanager
def closing(slide: Slide) -> Iterator[Slide]:
    """Close a slide at the end."""
    try:
        yield slide
    finally:
        slide.close()
