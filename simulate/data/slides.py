"""Drawing whole slides: tissue in two stains, with tumours of crowded nuclei; written as a TIFF of levels."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from shared.errors import DataError

SIDE = 448  # pixels
MPP = 2.0  # micrometres of a pixel
_TILE = 64  # pixels of a stored tile
_LEVELS = 3
_COARSE = 0.1
# What a micrometre of each stain takes of red, green and blue, as densities (Ruifrok and Johnston 2001).
_HAEMATOXYLIN, _EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


def draw_slide(
    rng: np.random.Generator, stain: tuple[float, float], *, tumour: bool
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw a piece of tissue on glass.

    Nuclei are small and apart; in a tumour, a tenth of the tissue or so, they are large, dark and crowded.

    Args:
        rng: Decides everything about the patient.
        stain: How strongly the hospital stains nuclei, and the rest.
        tumour: Whether there is one.

    Returns:
        The slide, (rows, columns, 3), and where its tumour is.
    """
    place = np.stack(np.meshgrid(*2 * [np.linspace(-1, 1, SIDE)], indexing="ij"))
    radii = rng.uniform(0.55, 0.85, 2)
    wavy = 0.12 * _field(rng, 0.15)
    tissue = np.sqrt(((place / radii[:, None, None]) ** 2).sum(axis=0)) + wavy < 1
    sick = np.zeros_like(tissue)
    if tumour:
        centre = rng.uniform(-0.35, 0.35, 2)
        away = np.sqrt(((place - centre[:, None, None]) ** 2).sum(axis=0))
        sick = tissue & (away + 0.06 * _field(rng, 0.12) < rng.uniform(0.16, 0.26))
    healthy = _nuclei(rng, tissue & ~sick, share=0.004, width=2.0)
    nuclei = healthy + 1.2 * _nuclei(rng, sick, share=0.014, width=2.7)
    fibres = (0.35 + 0.1 * _field(rng, 0.02) + 0.1 * _field(rng, 0.2)) * tissue
    density = stain[0] * nuclei[..., None] * _HAEMATOXYLIN + stain[1] * fibres.clip(0)[..., None] * _EOSIN
    light = 243 * np.exp(-density) + rng.normal(0, 2, (SIDE, SIDE, 1))
    return light.clip(0, 255).round().astype(np.uint8), sick


def _field(rng: np.random.Generator, grain: float) -> NDArray[np.float64]:
    """Return a smooth random field of unit variance."""
    coarse = 8 if grain > _COARSE else 1  # what is smooth can be drawn small, and enlarged
    noise = rng.standard_normal((SIDE // coarse, SIDE // coarse))
    smooth = ndimage.gaussian_filter(noise, grain * SIDE / 2 / coarse, mode="wrap", truncate=2.5)
    whole: NDArray[np.float64] = ndimage.zoom(smooth / smooth.std(), coarse, order=1)
    return whole


def _nuclei(
    rng: np.random.Generator, where: NDArray[np.bool_], *, share: float, width: float
) -> NDArray[np.float64]:
    """Return dots of a width in pixels, on a share of the pixels where they may be."""
    dots = (rng.random(where.shape) < share) & where
    return np.minimum(ndimage.gaussian_filter(dots * 2 * np.pi * width**2, width, truncate=2.5), 1.6)


def write_slide(path: Path, slide: NDArray[np.uint8]) -> None:
    """Write a slide as a TIFF with tiles and levels, which says how large its pixels are.

    Raises:
        DataError: The package that writes it is missing.
    """
    try:
        import tifffile  # noqa: PLC0415 (an extra)
    except ImportError:
        raise DataError(
            "synthetic slides need tifffile", remedy="Install it: pip install 'wardround[slides]'."
        ) from None
    image = Image.fromarray(slide)
    with tifffile.TiffWriter(path) as file:
        for level in range(_LEVELS):
            density = 1e4 / (MPP * 2**level)  # pixels per centimetre
            file.write(
                np.asarray(image.reduce(2**level)),
                subfiletype=1 if level else 0,
                tile=(_TILE, _TILE),
                photometric="rgb",
                compression="zlib",
                compressionargs={"level": 1},
                resolution=(density, density),
                resolutionunit="CENTIMETER",
                metadata=None,
                software=False,
            )
