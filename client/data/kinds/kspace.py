"""K-space: what a scanner measured, as complex numbers of each coil."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.formats.hdf5 import HDF5
from client.data.formats.kspace import RawKSpace, read_kspace
from client.data.images.refusing import refusing
from client.data.kinds.measured import MeasuredKind
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from shared.errors import DataError
from shared.text.plural import many

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene

_WHOLE = 0.9999  # share of samples from which nothing is lacking


class KSpaceKind(MeasuredKind):
    """(2 K + 1, *S) float32: real and imaginary parts of K coils, and where anything was measured (0 or 1).

    The middle of k-space is at S // 2. Of a larger matrix the outer samples are cut off, so that the image is
    coarser and as wide as before; a smaller one is refused, as zeros would pass for samples. The numbers are
    divided by the brightest pixel of the image (root of the sum of squares over coils) that they give.
    """

    endings = (".npy", *HDF5)
    settings: ClassVar[frozenset[str]] = frozenset({"size", "dimensions"})

    def source(self, record: Record) -> str:
        """See the base class; a file may hold several slices."""
        number = record.cells.get(self._slice_column, "")
        return f"{super().source(record)}-{number}-{self.field.channels}"

    @property
    def _slice_column(self) -> str:
        return f"{self.columns[0]}_slice"

    def raw(self, record: Record) -> RawKSpace:
        """Return what the file of a row holds.

        Raises:
            DataError: It can't be read, or has another number of coils than the job says.
        """
        [path], cell = self.files(record), record.cells.get(self._slice_column, "")
        if cell and not cell.isdecimal():
            raise DataError(f"the {self._slice_column} is '{cell}', no number of a slice")
        number = int(cell) if cell else None
        found = refusing(path, lambda: read_kspace(path, self.data.dimensions, number))
        coils, wanted = len(found.samples), self.field.channels
        if wanted not in (None, coils):
            raise DataError(
                f"has {many(coils, 'coil')}, and the job wants {wanted}",
                where=path,
                remedy="Say how many in the job: [task.measurement] coils. If the first axis is slices "
                f"of one coil, name one, from 1, in the column `{self._slice_column}`.",
            )
        if not found.taken.any():
            raise DataError("nothing was measured: all of it is 0", where=path)
        return found

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        found = self.raw(record)
        size = tuple(self.data.size or found.shape)
        if any(own < wanted for own, wanted in zip(found.shape, size, strict=True)):
            raise DataError(
                f"has a matrix of {_shape(found.shape)}, and the job wants {_shape(size)}",
                where=self.files(record)[0],
                remedy="Take a smaller [data] size; k-space is not filled up with zeros.",
            )
        middle = tuple(
            slice(own // 2 - wanted // 2, own // 2 - wanted // 2 + wanted)
            for own, wanted in zip(found.shape, size, strict=True)
        )
        samples, taken = found.samples[(slice(None), *middle)], found.taken[middle]
        samples = samples / max(_brightest(samples), 1e-30)
        return np.concatenate([samples.real, samples.imag, taken[None]]).astype(np.float32)

    def spacing(self, record: Record) -> tuple[float, ...] | None:
        """See the base class."""
        found = self.raw(record)
        if found.field_of_view is None:
            return None
        size = self.data.size or found.shape
        return tuple(length / pixels for length, pixels in zip(found.field_of_view, size, strict=True))

    def describe(self, record: Record, into: Tally) -> None:
        """See the base class: coils, the matrix, and how much of it was measured."""
        found = self.raw(record)
        into.fact("coils", len(found.samples))
        for axis, length in enumerate(found.shape, 1):
            into.fact(f"matrix, axis {axis}", length)
        share = float(found.taken.mean())
        into.fact("share of k-space that was measured", share)
        if share < _WHOLE:
            into.doubtful["k-space lacks samples: it gives an image, but nothing to learn from"] += 1


def _brightest(samples: NDArray[np.complex64]) -> float:
    axes = tuple(range(1, samples.ndim))
    images = np.fft.ifftn(np.fft.ifftshift(samples, axes=axes), axes=axes, norm="ortho")
    return float(np.sqrt((np.abs(images) ** 2).sum(axis=0).max()))


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
