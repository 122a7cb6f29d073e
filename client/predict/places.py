"""Where what a network says lies: in the geometry of the file that it was shown."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from client.data.formats.nifti import nifti_header
from client.data.formats.picture import Picture
from client.data.images.network_grid import Grid

NIFTI = (".nii", ".nii.gz")
# What of a NIfTI header says where the image lies; the rest may name the patient.
_PLACE = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def as_stored_nifti(file: Path, array: NDArray[Any]) -> nibabel.Nifti1Image:
    """Return an array in the file's own order of axes, channels last, with the place of a NIfTI file."""
    header = nifti_header(file)
    own = nibabel.Nifti1Header()
    own.set_data_dtype(array.dtype)
    spatial = (*header.get_data_shape(), 1, 1)[:3]
    shape = spatial if array.size == np.prod(spatial) else (*spatial, -1)
    array = array.reshape(shape)
    own.set_data_shape(array.shape)
    for key in _PLACE:
        own[key] = header[key]
    own["pixdim"][4:] = 1
    return nibabel.Nifti1Image(array, None, own)


def stored_affine(picture: Picture, grid: Grid | None = None) -> NDArray[np.float64]:
    """Return the affine (4, 4) of an image in its file's own order of axes; the inverse of `Turn.place`.

    A flat image lies in a plane one millimetre thick.

    Args:
        picture: The image as it was read.
        grid: Of the network, if the affine of its pixels is wanted (without padding), not of the file's.
    """
    turn, axes = picture.turn, len(picture.shape)
    turned = picture.affine
    if turned is None:
        turned = np.zeros((3, axes + 1))
        turned[:axes, :axes] = np.diag(picture.spacing or (1.0,) * axes)
    shape = picture.shape if grid is None else grid.inner
    steps, corner = turned[:, :-1] * np.divide(picture.shape, shape), turned[:, -1]
    corner = corner + (steps - turned[:, :-1]).sum(axis=1) / 2
    affine = np.zeros((4, 4))
    affine[:3, 3], affine[3, 3] = corner, 1
    for place, (axis, flip) in enumerate(zip(turn.axes, turn.flipped, strict=True)):
        step = steps[:, place]
        affine[:3, axis] = -step if flip else step
        affine[:3, 3] += step * (shape[place] - 1) if flip else 0
    if axes == 2:
        [thin] = {0, 1, 2} - set(turn.axes)
        normal = np.cross(affine[:3, (thin + 1) % 3], affine[:3, (thin + 2) % 3])
        affine[:3, thin] = normal / np.linalg.norm(normal)
    return affine
