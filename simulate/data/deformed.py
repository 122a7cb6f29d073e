"""A second image of the same head, which lies elsewhere: by how much is known at every point."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
_GRAIN = 0.3  # of a displacement, in shares of half the longest side
_MARGIN = 0.15  # of each axis, where no landmarks are


@dataclass(frozen=True)
class Deformed:
    """What is made of an image.

    Attributes:
        image: (*S), as the original.
        labels: (*S).
        points: Places in the original (N, D), in numbers of pixels, 0 is the middle of the first.
        moved: The same places in this image.
    """

    image: Floats
    labels: NDArray[np.uint8]
    points: NDArray[np.float64]
    moved: NDArray[np.float64]


def deform(
    rng: np.random.Generator,
    image: Floats,
    labels: NDArray[np.uint8],
    *,
    largest: float,
    count: int,
    as_whole: float = 0.0,
) -> Deformed:
    """Move an image by a smooth random field, and as a whole.

    Args:
        rng: Decides about the field and the landmarks.
        image: (*S).
        labels: (*S).
        largest: The longest displacement, in pixels.
        count: Landmarks, at most; those that would lie outside of the original are left out.
        as_whole: Deviation of the numbers of a matrix (turns, stretches, shears) and of a shift, in shares of
            half the image.
    """
    shape = image.shape
    grain = _GRAIN * max(shape) / 2
    field = np.stack([ndimage.gaussian_filter(rng.standard_normal(shape), grain, mode="wrap") for _ in shape])
    field *= largest / np.sqrt((field**2).sum(axis=0)).max()
    if as_whole:
        field += _matrix_field(rng, shape, as_whole)
    here = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)
    moved = rng.uniform(_MARGIN, 1 - _MARGIN, (count, len(shape))) * (np.array(shape) - 1)
    shift = [ndimage.map_coordinates(part, moved.T, order=1, mode="nearest") for part in field]
    points = moved + np.stack(shift, axis=1)
    inside = ((points >= 0) & (points <= np.array(shape) - 1)).all(axis=1)
    return Deformed(
        ndimage.map_coordinates(image, here + field, order=1, mode="nearest").astype(np.float32),
        ndimage.map_coordinates(labels, here + field, order=0, mode="nearest"),
        points[inside],
        moved[inside],
    )


def _matrix_field(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> NDArray[np.float64]:
    """Return the field (D, *S) of a random matrix and shift, in pixels."""
    half = (np.array(shape) - 1) / 2
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij"))
    matrix, shift = (rng.normal(0, deviation, size) for size in ((len(shape), len(shape)), len(shape)))
    moved = np.tensordot(matrix, places, axes=1) + shift.reshape(-1, *[1] * len(shape))
    scaled: NDArray[np.float64] = moved * half.reshape(-1, *[1] * len(shape))
    return scaled
