"""NIfTI files."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from client.data.formats.placed import placed
from client.data.picture import Picture
from shared.errors import DataError

_TO_MM = {"meter": 1000.0, "micron": 0.001}


def read_nifti(path: Path, dimensions: int | None) -> Picture:
    """Read a NIfTI file; further axes than three become channels.

    Args:
        path: The file.
        dimensions: 3 keeps a volume of one slice a volume; otherwise it becomes a picture.

    Raises:
        DataError: It has too many dimensions, or holds surfaces.
        ValueError: Its affine can't be used.
    """
    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Pair):
        raise DataError(f"holds no volume but a {type(image).__name__}", where=path)
    array = _channels_first(_values(image))
    if array.ndim != 4:
        raise DataError(f"has {len(image.shape)} dimensions", where=path)
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _TO_MM.get(image.header.get_xyzt_units()[0], 1.0)
    codes = (int(image.header["sform_code"]), int(image.header["qform_code"]))
    notes = _notes(image) if all(codes) else ()
    return placed(array, affine, dimensions, located=any(codes), notes=notes)


def _values(image: nibabel.Nifti1Image) -> NDArray[Any]:
    """Return the numbers with every bit that they have, (x, y, z, ...)."""
    if image.get_data_dtype().fields:  # three bytes of colour
        raw = np.asanyarray(image.dataobj)
        return np.stack([raw[name] for name in raw.dtype.names or ()], axis=-1)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    if (slope, intercept) == (1.0, 0.0) or image.get_data_dtype().kind == "c":
        array = np.asanyarray(image.dataobj)
    else:
        array = np.asarray(image.get_fdata(dtype=np.float64, caching="unchanged"))
    return array.reshape(array.shape + (1,) * (3 - array.ndim))


def _channels_first(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 3:
        return array[None]
    return np.moveaxis(array, tuple(range(3, array.ndim)), range(array.ndim - 3))


def _notes(image: nibabel.Nifti1Image) -> tuple[str, ...]:
    """Say where the header's two descriptions of its place turn the axes apart; the sform is used."""
    sform, qform = image.get_sform(), image.get_qform()
    ways = [nibabel.orientations.aff2axcodes(affine) for affine in (sform, qform)]
    if ways[0] == ways[1]:
        return ()
    names = ["".join(name or "?" for name in way) for way in ways]
    return (f"its sform says that the axes run to {names[0]}, its qform to {names[1]}; the sform counts",)
