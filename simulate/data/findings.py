"""Drawing what a detector should find: nodules and cavities among vessels, in pictures and in volumes.

Lengths are shares of half the longest side, intensities 0 to 1; everything works in any number of dimensions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
FINDINGS = ("nodule", "cavity")  # alike but for the dark core
_MOST = 3  # of an image
_APART = 1.3  # centres of two, in sums of their radii
_EDGE = 0.05  # width of a border


@dataclass(frozen=True)
class Finding:
    """An object in an image.

    Attributes:
        kind: One of `FINDINGS`.
        low: Its first pixel along each axis.
        high: The first behind it.
        pixels: Of the image that are inside.
    """

    kind: str
    low: tuple[int, ...]
    high: tuple[int, ...]
    pixels: int


def draw_findings(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], list[Finding]]:
    """Draw an image (*S) with up to three findings; some are cut by its edge.

    Vessels are as bright as nodules, and thinner.
    """
    place = np.stack(np.meshgrid(*(np.linspace(-n, n, n) / max(shape) for n in shape), indexing="ij"))
    image = 0.3 + 0.05 * _field(rng, shape, 0.3) + 0.02 * _field(rng, shape, 0.06)
    for _ in range(rng.integers(2, 5)):
        image = _vessel(rng, image, place)
    findings: list[Finding] = []
    taken: list[tuple[Floats, float]] = []
    for _ in range(rng.integers(0, _MOST + 1)):
        radius = rng.uniform(0.14, 0.3)
        centre = rng.uniform(-0.9, 0.9, len(shape)) * np.array(shape) / max(shape)
        if any(np.linalg.norm(centre - other) < _APART * (radius + own) for other, own in taken):
            continue
        taken.append((centre, radius))
        kind = str(rng.choice(FINDINGS))
        distance = _distance(rng, place, centre, radius)
        image = _paint(image, distance, rng.uniform(0.6, 0.75))
        if kind == "cavity":
            image = _paint(image, distance + rng.uniform(0.45, 0.6) * radius, rng.uniform(0.1, 0.2))
        findings.append(_boxed(kind, distance < 0))
    return np.clip(image, 0, 1).astype(np.float32), findings


def _field(rng: np.random.Generator, shape: tuple[int, ...], grain: float) -> Floats:
    """Return a smooth random field of unit variance."""
    smooth: Floats = ndimage.gaussian_filter(rng.standard_normal(shape), grain * max(shape) / 2, mode="wrap")
    return smooth / smooth.std()


def _distance(rng: np.random.Generator, place: Floats, centre: Floats, radius: float) -> Floats:
    """Return the distance to a wavy ellipsoid's surface, below 0 inside."""
    radii = radius * rng.uniform(0.8, 1.25, len(centre))
    axes = [-1, *[1] * len(centre)]
    away: Floats = np.sqrt((((place - centre.reshape(axes)) / radii.reshape(axes)) ** 2).sum(axis=0))
    return radius * (away - 1 + 0.06 * _field(rng, place.shape[1:], 0.2))


def _paint(image: Floats, distance: Floats, value: float) -> Floats:
    """Lay a value over the inside of a shape."""
    return image + np.clip(0.5 - distance / _EDGE, 0, 1) * (value - image)


def _vessel(rng: np.random.Generator, image: Floats, place: Floats) -> Floats:
    """Draw a straight tube through the whole image."""
    direction = rng.standard_normal(len(place))
    direction /= np.linalg.norm(direction)
    offset = place - rng.uniform(-0.7, 0.7, len(place)).reshape(-1, *[1] * image.ndim)
    along = np.tensordot(direction, offset, axes=1)
    away = np.sqrt(np.maximum((offset**2).sum(axis=0) - along**2, 0))
    return _paint(image, away - rng.uniform(0.02, 0.05), rng.uniform(0.55, 0.75))


def _boxed(kind: str, inside: NDArray[np.bool_]) -> Finding:
    """Return the box around the pixels of a finding."""
    places = np.argwhere(inside)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    return Finding(kind, tuple(low.tolist()), tuple(high.tolist()), len(places))
