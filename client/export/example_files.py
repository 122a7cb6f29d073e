"""Images of nobody on which each step of a preparation shows: turned, of other sizes, spacings and ranges."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.job.data_options import DataTable

_SMALLER, _LARGER = 0.6, 1.7
_BEYOND = 5  # pixels by which an image is larger than the patches that cover it
_EXIF_ORIENTATION, _TURNED_BY_90 = 274, 6


def example_files(folder: Path, data: DataTable) -> list[Path]:
    """Write images as a job's sites may have them, in the order of their names.

    Args:
        folder: Where they are written.
        data: The job's; of one file per image.
    """
    source = np.random.default_rng(0)
    return _pictures(folder, data, source) if data.dimensions == 2 else _volumes(folder, data, source)


def picture_modes(data: DataTable) -> list[str]:
    """Return Pillow's modes of pictures that a job takes; "grey" is RGB with three equal channels."""
    grey, colour = ["L", "I;16"], ["RGB"]
    if data.colour is not None:
        return [*grey, *colour, "grey"]
    return {1: [*grey, "grey"], 3: colour}.get(data.channels, [])


def _pictures(folder: Path, data: DataTable, source: np.random.Generator) -> list[Path]:
    modes = picture_modes(data)
    files = []
    for number in range(max(4, len(modes))):
        mode = modes[number % len(modes)]
        shape = _shape(data, _LARGER if number % 2 else _SMALLER, number)
        image = Image.fromarray(_pixels(data, mode, shape, source, constant=number == 0))
        if mode == "I;16" or number < 3:
            files.append(folder / f"{number}.png")
            image.save(files[-1])
        else:
            files.append(folder / f"{number}.jpg")
            exif = Image.Exif()
            exif[_EXIF_ORIENTATION] = _TURNED_BY_90
            image.save(files[-1], quality=95, exif=exif)
    return files


def _pixels(
    data: DataTable, mode: str, shape: NDArray[np.int64], source: np.random.Generator, *, constant: bool
) -> NDArray[Any]:
    channels = (3,) if mode == "RGB" else ()
    if constant:
        return np.full((*shape, *channels), 100, np.uint16 if mode == "I;16" else np.uint8)
    if mode == "I;16":
        return np.clip(_values(data, tuple(shape), source), 0, 2**16 - 1).astype(np.uint16)
    pixels: NDArray[np.uint8] = source.integers(0, 256, (*shape, *channels), np.uint8)
    return np.repeat(pixels[..., None], 3, axis=-1) if mode == "grey" else pixels


@dataclass(frozen=True)
class _Stored:
    """How a volume is stored: the order and direction of its axes, how far it is turned, and its voxel."""

    factor: float
    order: tuple[int, int, int]
    signs: tuple[int, int, int]
    turned: float  # radians about the axis to the head
    voxel: tuple[float, float, float]  # of the job's spacing, or mm


_STORED = (
    _Stored(_SMALLER, (0, 1, 2), (-1, -1, 1), 0.0, (0.8, 0.8, 1.5)),
    _Stored(_LARGER, (0, 1, 2), (1, 1, 1), 0.0, (1.0, 1.2, 0.7)),
    _Stored(1.0, (2, 0, 1), (1, -1, -1), 0.2, (0.9, 1.4, 1.1)),
)


def _volumes(folder: Path, data: DataTable, source: np.random.Generator) -> list[Path]:
    files = []
    for number, stored in enumerate(_STORED):
        shape = _shape(data, stored.factor, number)
        channels = (data.channels,) if data.channels > 1 else ()
        values = _values(data, (*shape[list(stored.order)], *channels), source)
        image = nibabel.Nifti1Image(values.astype(np.float32), _affine(data, stored))
        if number == 2:  # whole numbers, scaled by the header
            low, width = values.min(), values.max() - values.min()
            image = nibabel.Nifti1Image(np.rint((values - low) / width * 1000).astype(np.int16), image.affine)
            image.header.set_slope_inter(width / 1000, low)
        files.append(folder / f"{number}.nii.gz")
        nibabel.save(image, files[-1])
    return files


def _affine(data: DataTable, stored: _Stored) -> NDArray[np.float64]:
    """Return the affine (4, 4), from the file's voxels to RAS+ in mm."""
    cosine, sine = np.cos(stored.turned), np.sin(stored.turned)
    axes = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (axes * stored.voxel * (data.spacing or 1))[:, list(stored.order)] * stored.signs
    affine[:3, 3] = (20, 5, 3)
    return affine


def _shape(data: DataTable, factor: float, number: int) -> NDArray[np.int64]:
    """Return a spatial shape, upright: smaller or larger than the network's, of other proportions."""
    if data.size is not None:
        wanted = np.array(data.size) * factor + 3 * np.arange(len(data.size)) + number
        if data.resize == "keep":  # none may be larger at the job's scale
            wanted = np.minimum(wanted, np.array(data.size) // max(max(stored.voxel) for stored in _STORED))
        return np.maximum(4, np.rint(wanted)).astype(np.int64)
    patch = np.array(data.patch or [32] * data.dimensions)
    thinnest = 1 if data.spacing is None else min(min(stored.voxel) for stored in _STORED)
    return np.ceil((patch + _BEYOND) / thinnest).astype(np.int64) + number


def _values(data: DataTable, shape: tuple[int, ...], source: np.random.Generator) -> NDArray[np.float64]:
    """Return values on both sides of the ends of a window; otherwise with a few far from the others."""
    if data.window is not None:
        low, high = data.window
        return source.uniform(low - (high - low) / 2, high + (high - low) / 2, shape)
    return source.standard_t(3, shape) * 30 + 100
