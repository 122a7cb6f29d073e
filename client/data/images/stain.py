"""Tiles of stained tissue, brought to one stain: hospitals' dyes and scanners differ in it.

Both ways look at the tissue of a slide's tiles together, and change its colours so that they are spread as
those of a reference are. Glass has no stain, and stays what it is.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError

Stain = Literal["reinhard", "macenko"]
Pixels = NDArray[np.float32]
"""(3, N) or (3, rows, columns): red, green and blue, 0 to 255."""

_GLASS = 240.0  # light that goes through glass
_LEAST_DENSITY = 0.15  # of tissue, in one of the colours (Macenko et al. 2009)
_FEWEST = 100  # such pixels
_MOST = 200_000  # that are looked at
_ANGLES = (1, 99)  # percentiles of the angle between the stains
_GRID = 32
_STRONGEST = 99  # percentile of each stain's strength
# Macenko's reference: red, green and blue of haematoxylin and eosin (columns), and how strong they are.
_STAINS = np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]])
_STRENGTHS = np.array([1.9705, 1.0308])
_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_LAB = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])


def restained(tiles: Sequence[Pixels], stain: Stain) -> list[Pixels]:
    """Return the tiles of one slide in the reference's stain.

    Args:
        tiles: (3, rows, columns) each, RGB from 0 to 255.
        stain: 'reinhard' gives each of three perceived channels the reference's mean and deviation (Reinhard
            et al. 2001); 'macenko' finds the two stains and their strengths, and replaces both (Macenko et
            al. 2009).

    Raises:
        DataError: They are not colours of 8 bits, or hold too little tissue to tell the stain of.
    """
    if any(len(tile) != 3 or tile.min() < 0 or tile.max() > 255 for tile in tiles):
        raise DataError("is not red, green and blue from 0 to 255, and [data] stain is about such tiles")
    pixels = np.concatenate([tile.reshape(3, -1) for tile in tiles], axis=1).astype(np.float64)
    tissue = pixels[:, _is_tissue(pixels)]
    if tissue.shape[1] < _FEWEST:
        raise DataError(
            "holds too little tissue to tell its stain",
            remedy="Leave it out, or the job without [data] stain.",
        )
    tissue = tissue[:, :: max(1, tissue.shape[1] // _MOST)]
    change = _reinhard(tissue) if stain == "reinhard" else _macenko(tissue)
    return [_changed(tile, change) for tile in tiles]


def _changed(tile: Pixels, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Pixels:
    pixels = tile.reshape(3, -1).astype(np.float64)
    tissue = _is_tissue(pixels)
    pixels[:, tissue] = change(pixels[:, tissue])
    return pixels.clip(0, 255).astype(np.float32).reshape(tile.shape)


def _is_tissue(pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
    there: NDArray[np.bool_] = _density(pixels).max(axis=0) > _LEAST_DENSITY
    return there


def _density(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the optical density of pixels: those of two stains add up (Beer and Lambert)."""
    return -np.log((pixels + 1) / _GLASS)


def _macenko(tissue: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    own, strengths = stains_of(tissue)
    scale = (_STRENGTHS / strengths)[:, None]

    def change(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        amounts = np.linalg.lstsq(own, _density(pixels), rcond=None)[0]
        return _GLASS * np.exp(-_STAINS @ (amounts * scale)) - 1

    return change


def stains_of(tissue: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the stains of pixels (3, N), haematoxylin first, as columns (3, 2), and their strengths (2,)."""
    density = _density(tissue)
    _, vectors = np.linalg.eigh(np.cov(density))
    plane = vectors[:, :0:-1]  # of the two largest eigenvalues
    plane *= np.where(plane[0] < 0, -1, 1)
    angles = np.arctan2(*(plane.T @ density)[::-1])
    ends = np.percentile(angles, _ANGLES)
    stains = plane @ np.stack([np.cos(ends), np.sin(ends)])
    stains = stains[:, np.argsort(-stains[0])]  # haematoxylin takes more of the red
    amounts = np.linalg.lstsq(stains, density, rcond=None)[0]
    return stains, np.maximum(np.percentile(amounts, _STRONGEST, axis=1), 1e-3)


def _reinhard(tissue: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    perceived, reference = _perceived(tissue), _reference()
    means = perceived.mean(axis=1, keepdims=True)
    scale = reference.std(axis=1, keepdims=True) / np.maximum(perceived.std(axis=1, keepdims=True), 1e-3)

    def change(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        wanted = (_perceived(pixels) - means) * scale + reference.mean(axis=1, keepdims=True)
        return np.linalg.solve(_LMS, np.exp(np.linalg.solve(_LAB, wanted))) - 1

    return change


@cache
def _reference() -> NDArray[np.float64]:
    """Return the perceived channels (3, N) of Macenko's stains, in amounts that are spread evenly."""
    amounts = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, _GRID)])).reshape(2, -1) * _STRENGTHS[:, None]
    return _perceived(_GLASS * np.exp(-_STAINS @ amounts) - 1)


def _perceived(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Ruderman's l, alpha, beta: logarithms of what the eye's three receptors see, decorrelated."""
    return _LAB @ np.log(_LMS @ (pixels + 1))
