"""How far each pixel of an image lies from what belongs to it in another, by the places of their files."""

import gzip
from dataclasses import dataclass

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from client.data.formats.picture import Picture
from client.data.images.network_grid import Grid
from client.data.kinds.row_images import Scene
from client.predict.places import stored_affine
from shared.tasks.answers import FoundField

_DISPLACEMENT = 1006  # NIfTI's code of the intent: NIFTI_INTENT_DISPVECT


@dataclass(frozen=True)
class PlacedField:
    """A displacement of each pixel of an image's file.

    Attributes:
        vectors: (3, *S) in mm to the right, the front and up (RAS+); or (D, *S) in pixels along the picture's
            axes, where a file does not say where it lies.
        in_space: Whether they are in mm.
    """

    vectors: NDArray[np.float32]
    in_space: bool


def place_field(found: FoundField, name: str, scene: Scene) -> PlacedField:
    """Return a field between the grids of a network as one between two files.

    Args:
        found: The field.
        name: The image field whose pixels are displaced.
        scene: What the row's files hold.
    """
    picture, other = scene.pictures[name], scene.pictures[found.to]
    here = np.stack(np.meshgrid(*map(np.arange, picture.shape), indexing="ij")).astype(float)
    there = _reached(
        found.values.detach().double().cpu().numpy(), here, scene.grids[name], scene.grids[found.to]
    )
    if picture.affine is None or other.affine is None:
        return PlacedField((there - here).astype(np.float32), in_space=False)
    vectors = _world(other, there) - _world(picture, here)
    return PlacedField(vectors.astype(np.float32), in_space=True)


def _reached(
    field: NDArray[np.float64], here: NDArray[np.float64], grid: Grid, other: Grid
) -> NDArray[np.float64]:
    """Return the pixels of the other file (D, *S) that belong to pixels of the first one."""
    seen = _per_axis(here + 0.5, np.divide(grid.inner, grid.before), grid.offset.astype(float))
    moved = seen + np.stack([map_coordinates(part, seen - 0.5, order=1, mode="nearest") for part in field])
    scale = np.divide(other.before, other.inner)
    return _per_axis(moved, scale, -(other.offset * scale).astype(float)) - 0.5


def _per_axis(
    places: NDArray[np.float64], scale: NDArray[np.float64], shift: NDArray[np.floating]
) -> NDArray[np.float64]:
    ones = [1] * (places.ndim - 1)
    return places * scale.reshape(-1, *ones) + shift.reshape(-1, *ones)


def _world(picture: Picture, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places (D, *S) of an array in mm (3, *S)."""
    steps, corner = picture.place[:, :-1], picture.place[:, -1]
    return np.tensordot(steps, places, axes=1) + corner.reshape(-1, *[1] * (places.ndim - 1))


def field_file(placed: PlacedField, picture: Picture) -> bytes:
    """Return a field as packed NIfTI (X, Y, Z, 1, 3), in the file's own order of axes, where it lies.

    A flat image has one slice; of pictures that lie nowhere there are two numbers of each pixel.
    """
    stored = picture.turn.undo(placed.vectors)
    stored = np.moveaxis(stored.reshape(*stored.shape, *[1] * (4 - stored.ndim)), 0, -1)[..., None, :]
    image = nibabel.Nifti1Image(np.ascontiguousarray(stored), stored_affine(picture))
    image.header["intent_code"] = _DISPLACEMENT
    image.header.set_xyzt_units("mm" if placed.in_space else "unknown")
    return gzip.compress(image.to_bytes(), mtime=0)  # the time of writing is none of the result
