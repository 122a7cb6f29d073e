"""Files of k-space: what a scanner measured before anything was made of it.

`.npy` arrays, HDF5 as of fastMRI (Zbontar et al. 2018) and ISMRMRD (Inati et al. 2017).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.formats.arrays import require_plausible_array
from client.data.formats.hdf5 import HDF5, dataset_in, header_of, is_acquisition, opened, space_of
from client.data.formats.ismrmrd import cut_readout, read_acquisitions
from client.data.formats.slices import one_of
from shared.errors import DataError

_KSPACE = "kspace"


@dataclass(frozen=True)
class RawKSpace:
    """K-space as it was measured, its middle at index S // 2 of each axis.

    Attributes:
        samples: (K, *S) complex64, of each coil; 0 where nothing was measured.
        taken: (*S), True where something was.
        field_of_view: Millimetres along each axis; None where the file does not say.
    """

    samples: NDArray[np.complex64]
    taken: NDArray[np.bool_]
    field_of_view: tuple[float, ...] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The matrix."""
        return self.samples.shape[1:]


def read_kspace(path: Path, axes: int, number: int | None = None) -> RawKSpace:
    """Read a file.

    Args:
        path: The file.
        axes: 2 or 3, of the matrix.
        number: Which slice of a file of several, from 1; None: there is one.

    Raises:
        DataError: It holds something else, or several slices.
        Exception: Whatever libraries raise on a damaged file.
    """
    if path.name.lower().endswith(".npy"):
        require_plausible_array(path)
        return _whole(_slice(np.load(path, allow_pickle=False), axes, number, path), None, path)
    if not path.name.lower().endswith(HDF5):
        raise DataError("is no file of k-space (.npy, .h5, .hdf5, .mrd)", where=path)
    with opened(path) as file:
        if is_acquisition(file, path):
            space = space_of(file, path)
            lines = read_acquisitions(dataset_in(file, "dataset/data", path), space, axes, number, path)
            return RawKSpace(*lines, tuple(space.field_of_view[:axes]))
        found = _whole(_slice(dataset_in(file, _KSPACE, path), axes, number, path, sliced=True), None, path)
        if not header_of(file, path):
            return found
        space = space_of(file, path)
        if found.shape[0] != space.matrix[0]:  # fastMRI pads or cuts the other axis as it likes
            return found
        cut = cut_readout(found.samples, space.read, found.taken)
        return RawKSpace(*cut, tuple(space.field_of_view[:axes]))


def _slice(
    array: Any, axes: int, number: int | None, path: Path, *, sliced: bool = False
) -> NDArray[np.complex64]:
    """Return the k-space (K, *S) of one slice of an array ([slices,] [coils,] *S); no other one is read.

    Args:
        array: An array, or a dataset of HDF5.
        axes: Of a slice.
        number: Of the slice, from 1.
        path: The file, for errors.
        sliced: Of three axes the first one is slices, as in fastMRI's files of a single coil; else it is
            coils where no number is given.
    """
    if array.dtype.kind != "c":
        raise DataError(
            f"holds {array.dtype}, and k-space is complex",
            where=path,
            remedy="Save real and imaginary part as one complex number.",
        )
    sliced = number is not None or (sliced and axes == 2)
    if array.ndim == axes + 2 or (array.ndim == axes + 1 and sliced):
        found = np.asarray(array[one_of(len(array), number, path)])
    elif array.ndim == axes + 1 or (array.ndim == axes and one_of(1, number, path) == 0):
        found = np.asarray(array[()])
    else:
        raise DataError(f"has {array.ndim} axes, and k-space here ([slices, coils,] {axes} more)", where=path)
    return found if found.ndim == axes + 1 else found[None]


def _whole(array: NDArray[Any], field_of_view: tuple[float, ...] | None, path: Path) -> RawKSpace:
    if not np.isfinite(array).all():
        raise DataError("has values that are not finite numbers", where=path)
    samples = array.astype(np.complex64)
    return RawKSpace(samples, (samples != 0).any(axis=0), field_of_view)
