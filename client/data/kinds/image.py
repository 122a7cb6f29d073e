"""Images: pictures and volumes, of one or several files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.data.images.file_hash import content_hash
from client.data.images.harmonise import harmonised
from client.data.images.intensity import intensity
from client.data.kinds.base import Kind
from client.data.manifest.rows import Record
from client.data.motion.augment import shade
from client.data.motion.steps import Step, Value, whole

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class PixelsKind(Kind):
    """Whatever has the pixels of images: it is read from files, moved linearly, and shaded."""

    lies_on_grid: ClassVar[bool] = True
    settings: ClassVar[frozenset[str]] = frozenset(
        {
            *("channels", "size", "spacing", "dimensions", "intensity", "window", "resize", "colour"),
            *("geometry", "modalities", "pixel_sizes", "bias_correction", "landmarks"),
        }
    )

    def source(self, record: Record) -> str:
        """See the base class."""
        return "-".join(content_hash(path) for path in self.files(record))

    def move(self, value: Value, steps: Sequence[Step]) -> Tensor:
        """See the base class."""
        for step in steps:
            value = step.picture(value)
        return whole(value)

    def shade(self, value: Tensor, names: Sequence[str], rng: np.random.Generator) -> Tensor:
        """See the base class; an image that is a target keeps its values."""
        return value if self.field.role == "target" else shade(value, names, rng)


class ImageKind(PixelsKind):
    """(C, *S) float32: resampled, resized, its values brought to a common range.

    An image that a row may lack, and does, is not a number.
    """

    needs_image: ClassVar[bool] = True

    def is_given(self, record: Record) -> bool:
        """See the base class; one that must be there is read, whatever the cells say."""
        return self.field.required or super().is_given(record)

    def files(self, record: Record) -> tuple[Path, ...]:
        """See the base class: one for each column; none where the row lacks the image."""
        if not self.is_given(record):
            return ()
        return tuple(record.file(column) for column in self.field.columns)

    def source(self, record: Record) -> str:
        """See the base class; what is drawn for a row without an image follows from its patient."""
        return super().source(record) or f"no image of {record.patient}"

    def move(self, value: Value, steps: Sequence[Step]) -> Tensor:
        """See the base class; what is lacking stays so."""
        return whole(value) if self._is_lacking(value) else super().move(value, steps)

    def shade(self, value: Tensor, names: Sequence[str], rng: np.random.Generator) -> Tensor:
        """See the base class; what is lacking stays so."""
        return value if self._is_lacking(value) else super().shade(value, names, rng)

    def _is_lacking(self, value: Value) -> bool:
        return not self.field.required and bool(whole(value).isnan().all())

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        if self.name not in scene.pictures:
            return np.full((self.data.channels, *(self.data.size or [])), np.nan, np.float32)
        picture, grid = scene.pictures[self.name], scene.grids[self.name]
        tissue = grid.tissue(picture.background)
        image = intensity(harmonised(grid.image(picture.array), self.data, tissue), self.data, tissue)
        padded: NDArray[np.float32] = grid.padded(image)
        return padded
