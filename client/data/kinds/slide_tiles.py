"""The tiles of a whole slide that have tissue: where they lie, and their pixels at the job's resolution."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.data.formats.slides import Level, Slide
from client.data.images.resize import resize_image
from shared.errors import DataError

TISSUE = 0.5  # of a tile's pixels, at least
_LEAST_COLOUR = 15  # of 255: an empty slide has a threshold too, of its noise
_DARK = 20  # of 255: pen and the black beyond the glass are no tissue


@dataclass(frozen=True)
class Tiling:
    """The tiles of a slide.

    Attributes:
        level: From which they are read.
        places: Top and left of each in pixels of the level, row by row.
        side: Height and width of each in pixels of the level.
        share: Of the slide that is tissue.
        thumbnail: The slide, (rows, columns, 3).
    """

    level: Level
    places: list[tuple[int, int]]
    side: tuple[int, int]
    share: float
    thumbnail: NDArray[np.uint8]


def tiling(slide: Slide, mpp: float, size: tuple[int, int]) -> Tiling:
    """Return the tiles with tissue: of a grid from the slide's first pixel, those of which at least half is.

    Args:
        slide: The slide.
        mpp: Micrometres of a pixel of a tile.
        size: Height and width of a tile in such pixels.

    Raises:
        DataError: There is none.
    """
    level = slide.level_for(mpp)
    thumbnail = slide.thumbnail()
    there = tissue(thumbnail)
    rows, columns = (max(1, round(length * mpp / own)) for length, own in zip(size, level.mpp, strict=True))
    scale = np.divide(there.shape, level.shape)
    sums = np.pad(there.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    places = []
    for top in range(0, level.shape[0] - rows + 1, rows):
        for left in range(0, level.shape[1] - columns + 1, columns):
            (first, last), (start, end) = (
                _covered(at, length, ratio, whole)
                for at, length, ratio, whole in zip(
                    (top, left), (rows, columns), scale, there.shape, strict=True
                )
            )
            found = sums[last, end] - sums[first, end] - sums[last, start] + sums[first, start]
            if found >= TISSUE * (last - first) * (end - start):
                places.append((top, left))
    if not places:
        raise DataError(
            f"has no tile of {size[0]} x {size[1]} pixels at {mpp:g} micrometres with tissue",
            where=slide.path,
        )
    return Tiling(level, places, (rows, columns), float(there.mean()), thumbnail)


def _covered(at: int, length: int, ratio: float, whole: int) -> tuple[int, int]:
    first = min(int(at * ratio), whole - 1)
    return first, max(first + 1, min(round((at + length) * ratio), whole))


def drawn(places: list[tuple[int, int]], most: int | None, seed: int) -> list[tuple[int, int]]:
    """Return tiles that are drawn with equal chances, in their order; all of them if there are too few."""
    if most is None or len(places) <= most:
        return places
    chosen = np.random.default_rng(seed).choice(len(places), most, replace=False)
    return [places[number] for number in sorted(chosen)]


def tile(slide: Slide, found: Tiling, place: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a tile, (3, *size), RGB from 0 to 255."""
    pixels = slide.read(found.level, *place, *found.side)
    return resize_image(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32), size)


def tissue(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a slide has tissue: it is more in colour than glass (Otsu 1979, on the saturation)."""
    saturation = np.asarray(Image.fromarray(thumbnail).convert("HSV"))[..., 1]
    bright = thumbnail.max(axis=-1) > _DARK
    return bright & (saturation > max(_otsu(saturation[bright]), _LEAST_COLOUR))


def _otsu(values: NDArray[np.uint8]) -> int:
    """Return the value that parts the values into two classes with the largest variance between them."""
    counts = np.bincount(values, minlength=256).astype(np.float64)
    below, sums = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.nan_to_num(between).argmax())
