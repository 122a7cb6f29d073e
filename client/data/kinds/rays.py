"""Rays: what a CT or PET scanner measured, as sums along parallel lines."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.formats.arrays import require_plausible_array
from client.data.images.refusing import refusing
from client.data.kinds.measured import MeasuredKind
from client.data.manifest.rows import Record
from shared.errors import DataError
from shared.tasks.images.ray_count import rays_across

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class RaysKind(MeasuredKind):
    """(1, angles, N) float32, of a `.npy` file: sums along parallel rays over half a turn.

    Rays lie one pixel apart, as many as the diagonal of `[data] size`, rounded up; lengths are in pixels, of
    an image within 0 and 1.
    """

    endings = (".npy",)
    settings: ClassVar[frozenset[str]] = frozenset({"size"})

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        [path] = self.files(record)
        rays = refusing(path, lambda: _array(path))
        wanted = (self.field.channels, rays_across(self.data.size or []))
        if rays.shape != wanted:
            raise DataError(
                f"has rays of shape {rays.shape}, and the job has {wanted[0]} angles of {wanted[1]} rays",
                where=path,
            )
        if not np.isfinite(rays).all():
            raise DataError("has values that are not finite numbers", where=path)
        return rays.astype(np.float32)[None]

    def spacing(self, record: Record) -> None:
        """See the base class: rays do not say how wide they are."""
        return


def _array(path: Path) -> NDArray[np.generic]:
    require_plausible_array(path)
    found = np.load(path, allow_pickle=False)
    if found.dtype.kind not in "iuf":
        raise DataError(f"holds {found.dtype}, not numbers", where=path)
    return found
