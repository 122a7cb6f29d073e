"""What the values of a prepared image stand for in its file."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.images.intensity import scale_of
from client.data.kinds.base import Kind
from client.data.kinds.image import PixelsKind
from client.data.manifest.rows import Record
from shared.job.data_options import DataTable

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class ScaleKind(Kind):
    """(C, 2) float32: the file's value that is 0 in the prepared image, and how much more of it is 1.

    It needs no column of its own: `Field.tells_of` names its image. With it errors are told in Hounsfield
    units, or whatever the file counts in.
    """

    needs_image: ClassVar[bool] = True
    settings: ClassVar[frozenset[str]] = PixelsKind.settings

    def source(self, record: Record) -> str:
        """See the base class: its image's files are hashed as that image's."""
        return ""

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        return image_scale(self.field.tells_of or "", self.data, scene)


def image_scale(name: str, data: DataTable, scene: "Scene") -> NDArray[np.float32]:
    """Return the scale (C, 2) of an image field of a row."""
    picture, grid = scene.pictures[name], scene.grids[name]
    return scale_of(grid.image(picture.array), data, grid.tissue(picture.background))
