"""Drawing cells that touch: nuclei of several sizes and brightness in clusters, and debris among them.

Lengths are in pixels, intensities 0 to 1.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
_RADII = (4.5, 8.0)
_APART = 0.82  # centres of two, in sums of their radii: closer ones would hide each other
_LEAST = 12  # pixels of the smallest cell that is left of one that the edge cuts
_TRIES = 400


def draw_cells(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Draw an image (H, W) of 6 to 24 cells, and the number of each pixel's cell, 0 for none.

    Two of three cells are put beside another one, and touch it; where they do, a faint dark seam is between
    them. The image's edge cuts some. Debris is brighter than cells, and smaller.
    """
    cells = _placed(rng, shape, int(rng.integers(6, 25)))
    rows, columns = np.indices(shape)
    nearest, owner = np.full(shape, 1.0), np.zeros(shape, int)
    for number, (row, column, radius) in enumerate(cells, 1):
        long, angle = rng.uniform(1.0, 1.2), rng.uniform(0, np.pi)
        down, right = rows + 0.5 - row, columns + 0.5 - column
        along = (down * np.cos(angle) + right * np.sin(angle)) / (radius * long)
        across = (right * np.cos(angle) - down * np.sin(angle)) / (radius / long)
        distance = np.hypot(along, across) * (1 + 0.06 * _field(rng, shape, 3.0))
        closer = distance < nearest
        nearest[closer], owner[closer] = distance[closer], number
    counts = np.bincount(owner.ravel(), minlength=len(cells) + 1)
    kept = np.flatnonzero(counts[1:] >= _LEAST) + 1
    numbers = np.zeros(len(counts), np.uint16)
    numbers[kept] = np.arange(1, len(kept) + 1)
    bright = np.append(0, rng.uniform(0.4, 0.75, len(cells)))
    body = bright[owner] * (0.62 + 0.38 * np.sqrt(1 - nearest**2))
    image = 0.12 + 0.03 * _field(rng, shape, 12.0) + np.where(owner > 0, body, 0.0)
    image = image * (1 + 0.08 * _field(rng, shape, 1.2)) + _debris(rng, shape)
    image = ndimage.gaussian_filter(image, 0.7)
    return np.clip(image, 0, 1).astype(np.float32), numbers[owner]


def _placed(rng: np.random.Generator, shape: tuple[int, int], count: int) -> list[tuple[float, float, float]]:
    """Return row, column and radius of some cells, none of which hides another's middle."""
    cells: list[tuple[float, float, float]] = []
    for _ in range(_TRIES):
        if len(cells) == count:
            break
        radius = rng.uniform(*_RADII)
        row, column = (float(rng.uniform(0, side)) for side in shape)
        if cells and rng.random() < 2 / 3:
            first, angle = cells[int(rng.integers(len(cells)))], rng.uniform(0, 2 * np.pi)
            away = rng.uniform(_APART, 1.0) * (radius + first[2])
            row, column = first[0] + away * np.cos(angle), first[1] + away * np.sin(angle)
        inside = 0 <= row < shape[0] and 0 <= column < shape[1]
        if inside and all(
            np.hypot(row - one[0], column - one[1]) >= _APART * (radius + one[2]) for one in cells
        ):
            cells.append((row, column, radius))
    return cells


def _debris(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return small bright grains."""
    grains = np.zeros(shape)
    for _ in range(rng.integers(2, 8)):
        row, column = (int(rng.integers(side)) for side in shape)
        grains[row, column] = rng.uniform(4, 9)
    return ndimage.gaussian_filter(grains, 1.0)


def _field(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> Floats:
    """Return a smooth random field of unit variance."""
    smooth: Floats = ndimage.gaussian_filter(rng.standard_normal(shape), grain, mode="wrap")
    return smooth / smooth.std()
