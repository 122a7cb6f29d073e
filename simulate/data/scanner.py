"""What differs between scanners: contrast, coil sensitivity, sharpness, acquired resolution, noise.

Applied to the images of a simulated hospital and to nothing else: masks and labels stay as they are.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial.legendre import leggrid2d, leggrid3d
from numpy.typing import NDArray
from scipy import ndimage

from shared.seeds import seed_of

_DEGREE = 3  # of the bias field's polynomial


@dataclass(frozen=True)
class Scanner:
    """One hospital's scanner, as an image filter: the same image and key always give the same result.

    An image passes through it in the order of an MR acquisition: tissue contrast, coil, point spread,
    acquired matrix, noise of the matrix, interpolation to the size it came with.

    Args:
        gamma: Exponent of the intensity, above 0; below 1 brightens.
        curve: Strength of an S-shaped intensity curve, -1 to 1; above 0 the middle greys move apart less.
        bias: Largest coefficient of the bias field's polynomial, in log units; 0 for an even coil.
        blur: Standard deviation of the point spread, as a share of the image's longest side.
        resolution: Acquired over delivered pixels along each axis, above 0 and at most 1.
        noise: Standard deviation in each of the two channels of a Rician magnitude image, as a share of the
            image's intensity range (Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618).
        seed: Chooses the shape of the bias field and the noise.
    """

    gamma: float = 1.0
    curve: float = 0.0
    bias: float = 0.0
    blur: float = 0.0
    resolution: float = 1.0
    noise: float = 0.0
    seed: int = 0

    @classmethod
    def draw(cls, site: str, seed: int) -> "Scanner":
        """Return the scanner of a site: another site or seed gives another one."""
        own = seed_of("scanner", seed, site)
        rng = np.random.default_rng(own)
        return cls(
            gamma=round(float(np.exp(rng.uniform(-0.6, 0.6))), 4),
            curve=round(float(rng.uniform(-0.7, 0.7)), 4),
            bias=round(float(rng.uniform(0.05, 0.3)), 4),
            blur=round(float(rng.uniform(0.0, 0.009)), 4),
            resolution=round(float(rng.uniform(0.55, 1.0)), 4),
            noise=round(float(rng.uniform(0.01, 0.06)), 4),
            seed=own,
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the parameters, in hexadecimal: two scanners with the same digest do the same."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def __call__(self, image: NDArray[np.float32], key: str) -> NDArray[np.float32]:
        """Return the image as this scanner would have taken it.

        Args:
            image: Finite values of any range, shape (C, H, W) or (C, H, W, D). Each channel is seen through
                the scanner by itself, relative to its own lowest and highest value.
            key: What the noise is seeded with, beside the scanner; the digest of the image's content, say.

        Returns:
            A new array of the same shape; every value lies between the channel's lowest and highest one.
        """
        axes = tuple(range(1, image.ndim))
        low = image.min(axis=axes, keepdims=True)
        span = image.max(axis=axes, keepdims=True) - low
        unit = (image - low) / np.where(span > 0, span, 1)
        signal = self._contrast(unit) * _sensitivity(self.seed, self.bias, image.shape[1:])
        magnitude = self._acquire(signal, key)
        return np.asarray(low + span * np.clip(magnitude, 0, 1), np.float32)

    def _contrast(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        bent: NDArray[np.float32] = unit**self.gamma
        # Rises everywhere as long as |curve| is at most 1, and keeps 0 and 1 where they are.
        return bent + np.float32(self.curve / (2 * np.pi)) * np.sin(2 * np.pi * bent)

    def _acquire(self, signal: NDArray[np.float32], key: str) -> NDArray[np.float32]:
        """Blur, sample in the acquired matrix, add that matrix's noise, interpolate back."""
        # NumPy and SciPy here: torch's filters add in an order that depends on the number of threads, and
        # MONAI's wrapping of the two lines of noise takes longer than all the rest.
        shape = signal.shape[1:]
        sharp = ndimage.gaussian_filter(signal, self.blur * max(shape), axes=tuple(range(1, signal.ndim)))
        matrix = _resample(sharp, tuple(max(1, round(side * self.resolution)) for side in shape))
        rng = np.random.default_rng(seed_of(self.digest, key))
        real, imaginary = np.float32(self.noise) * rng.standard_normal((2, *matrix.shape), np.float32)
        return _resample(np.hypot(matrix + real, imaginary), shape)


@lru_cache(maxsize=256)
def _sensitivity(seed: int, bias: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the coil's field, above 0 and at most 1, shape (1, *shape): the same for every image.

    It is that of MONAI's `RandBiasField` of degree 3, whose import takes longer than to draw all patients.
    """
    random = np.random.RandomState(seed % 2**32)  # it takes 32 bits
    random.rand()  # whether there is a field
    terms = [powers for powers in np.ndindex(*[_DEGREE + 1] * len(shape)) if _is_term(powers)]
    coefficients = np.zeros([_DEGREE + 1] * len(shape))
    coefficients[tuple(np.transpose(terms))] = random.uniform(-bias, bias, len(terms))
    x, y, *z = (np.linspace(-1.0, 1.0, side, dtype=np.float32) for side in shape)
    field = leggrid3d(x, y, z[0], coefficients) if z else leggrid2d(x, y, coefficients)
    values = np.exp(field)[None].astype(np.float32)
    return np.asarray(values / values.max(), np.float32)


def _is_term(powers: tuple[int, ...]) -> bool:
    return powers[1] <= powers[0] if len(powers) == 2 else sum(powers) <= _DEGREE


def _resample(image: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate linearly to another spatial shape: (C, *S) to (C, *shape)."""
    if image.shape[1:] == shape:
        return image
    factors = [1.0, *(new / old for new, old in zip(shape, image.shape[1:], strict=True))]
    resampled: NDArray[np.float32] = ndimage.zoom(image, factors, order=1, mode="nearest", grid_mode=True)
    return resampled
