"""Images that a network made, back on the grid and in the units of the file that it was shown."""

import gzip
import io
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.data.formats.picture import Picture
from client.data.images.network_grid import Grid
from client.data.kinds.row_images import Scene
from client.data.kinds.scale import image_scale
from client.predict.places import NIFTI, as_stored_nifti, stored_affine
from shared.job.data_options import DataTable
from shared.tasks.answers import FoundImage

_COLOURS = 3


@dataclass(frozen=True)
class PlacedImage:
    """An image that was made.

    Attributes:
        array: (C, *S).
        grid: Of the network, on whose pixels it lies; None: on those of the file.
        holds: See `FoundImage`.
        before: What was given (C, *S'): what it is to be looked at beside; None where nothing compares.
    """

    array: NDArray[np.float32]
    grid: Grid | None
    holds: str
    before: NDArray[np.float32] | None


def place_image(found: FoundImage, name: str, data: DataTable, scene: Scene) -> PlacedImage:
    """Return an image that was made on the grid of the file of an image field.

    Args:
        found: The image.
        name: The field.
        data: The job's.
        scene: What the row's files hold.
    """
    grid, own = scene.grids[name], found.of or name
    values = found.values.detach().float().cpu().numpy()
    array = grid.inner_of(values) if found.fine else grid.image_before(values)
    if found.holds != "units":
        return PlacedImage(array, grid if found.fine else None, found.holds, None)
    channels = list(range(len(values)) if found.channels is None else found.channels)
    scale = image_scale(own, data, scene)[channels]
    low, width = (part.reshape(-1, *[1] * (array.ndim - 1)) for part in scale.T)
    before = scene.pictures[own].array[channels].astype(np.float32) if own == name else None
    return PlacedImage(array * width + low, grid if found.fine else None, found.holds, before)


def image_file(placed: PlacedImage, picture: Picture, file: Path) -> tuple[str, bytes]:
    """Return the ending and the content of an image that was made of the one in a file.

    Of a picture of whole numbers: PNG of 8 or 16 bits, as large as the picture is shown, rounded. Otherwise
    NIfTI in 32-bit floats: of a NIfTI file in its own order of axes and with its own place.

    Args:
        placed: The image.
        picture: The one that it was made of.
        file: Its file.
    """
    pixels = _pixels(placed, picture)
    if pixels is not None:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        return ".png", stream.getvalue()
    return ".nii.gz", gzip.compress(_volume(placed, picture, file).to_bytes(), mtime=0)


def _pixels(placed: PlacedImage, picture: Picture) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """Return the pixels of a PNG: (rows, columns[, 3]); None where that does not hold the image."""
    array, channels = placed.array, len(placed.array)
    kind = _whole_numbers(picture)
    if array.ndim != 3 or placed.holds == "numbers" or channels not in (1, _COLOURS) or kind is None:
        return None
    if placed.holds == "share":
        array, kind = array * 255, np.uint8
    if kind is np.uint16 and channels > 1:
        return None
    rounded = np.clip(np.rint(array), 0, np.iinfo(kind).max).astype(kind)
    return rounded[0] if channels == 1 else np.ascontiguousarray(np.moveaxis(rounded, 0, -1))


def _whole_numbers(picture: Picture) -> type[np.uint8] | type[np.uint16] | None:
    """Return what holds the numbers of a flat picture that lies nowhere in a patient; None for others."""
    low, high = float(picture.array.min()), float(picture.array.max())
    if picture.affine is not None or picture.turn.stored != 2 or low < 0 or high >= 2**16:
        return None
    if (np.rint(picture.array) != picture.array).any():
        return None
    return np.uint8 if high < 2**8 else np.uint16


def _volume(placed: PlacedImage, picture: Picture, file: Path) -> nibabel.Nifti1Image:
    stored = picture.turn.undo(placed.array)
    stored = np.moveaxis(stored.reshape(*stored.shape, *[1] * (4 - stored.ndim)), 0, -1)  # channels last
    stored = stored[..., 0] if stored.shape[-1] == 1 else stored
    if placed.grid is None and file.name.lower().endswith(NIFTI):
        return as_stored_nifti(file, stored)
    return nibabel.Nifti1Image(stored, stored_affine(picture, placed.grid))
