"""Volumes: how large the structures of a mask are, as a number that a model predicts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.data.images.readers import structure_indices
from client.data.kinds.drawing import Drawing
from client.data.kinds.mask import MaskKind
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from client.data.motion.steps import Step, Value, whole
from shared.errors import DataError

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class VolumeKind(MaskKind):
    """(K,) float32, how large each class of a mask is in its file: ml of a volume, mm² of a picture."""

    lies_on_grid: ClassVar[bool] = False

    def is_given(self, record: Record) -> bool:
        """See the base class; a mask that a row lacks says nothing."""
        return bool(record.cells.get(self.field.columns[0]))

    def read(self, record: Record, scene: "Scene") -> NDArray[Any]:
        """See the base class."""
        raw = scene.raws[self.name]
        if raw.spacing is None:
            raise DataError(
                "does not say how large its voxels are, so the volume is not known",
                where=self.files(record)[0],
                remedy="Give masks that do (NIfTI, DICOM), or a column of numbers as [task] targets.",
            )
        indices = structure_indices(raw, self.files(record)[0], self.field)
        counts = np.bincount(indices.ravel(), minlength=1 + len(self.field.classes))[1:]
        voxel = float(np.prod(raw.spacing)) / (1000 if indices.ndim == 3 else 1)
        return (counts * voxel).astype(np.float32)

    def move(self, value: Value, steps: Sequence[Step]) -> Tensor:
        """See the base class: a number has no place."""
        return whole(value)

    def centre(self, value: Value, rng: np.random.Generator, memo: dict[str, Any]) -> None:
        """See the base class: a number has no place."""

    def drawing(self, value: NDArray[Any]) -> Drawing:
        """See the base class."""
        return Drawing()

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class."""
        for name, number in zip(self.field.classes, value.tolist(), strict=True):
            into.number(name, number)

    @property
    def classes(self) -> int:
        """See the base class; it is a number of none."""
        return 0

    def class_counts(self, value: Tensor) -> NDArray[np.int64]:
        """See the base class."""
        return np.zeros(0, np.int64)
