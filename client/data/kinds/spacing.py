"""How large the pixels of an image are, as a network sees them."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.kinds.base import Kind
from client.data.manifest.rows import Record

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class SpacingKind(Kind):
    """(D,) float32: millimetres of a pixel of an image along each axis; 1 where the file does not say.

    It needs no column of its own: `Field.tells_of` names its image.
    """

    needs_image: ClassVar[bool] = True
    settings: ClassVar[frozenset[str]] = frozenset({"dimensions", "size", "spacing", "resize"})

    def source(self, record: Record) -> str:
        """See the base class: its image's files are hashed as that image's."""
        return ""

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        spacing = scene.grids[self.field.tells_of or ""].spacing
        return np.array(spacing or [1.0] * self.data.dimensions, np.float32)
