"""Labels: the class of a sample, or any number of classes."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.data.kinds.base import Kind
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record, label_indices
from shared.tasks.fields import UNKNOWN_LABEL

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class LabelKind(Kind):
    """() int64, the index of the class, or `UNKNOWN_LABEL`; (K,) float32 of 0 and 1 for several labels."""

    in_manifest: ClassVar[bool] = True

    def is_given(self, record: Record) -> bool:
        """See the base class; of several labels, an empty cell says that it has none."""
        return self.field.columns[0] in record.cells if self.field.several else super().is_given(record)

    def read(self, record: Record, scene: "Scene") -> NDArray[np.int64] | NDArray[np.float32]:
        """See the base class."""
        own = self.field
        if self.is_unknown(record):
            return np.array(UNKNOWN_LABEL, np.int64)
        label = record.cells.get(self.field.columns[0])
        indices = label_indices(label, own.classes, multi_label=own.several)
        if not own.several:
            return np.array(indices[0], np.int64)
        target = np.zeros(len(own.classes), np.float32)
        target[indices] = 1
        return target

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class."""
        found = np.flatnonzero(value) if self.field.several else [int(value)]
        into.counts.update(self.field.classes[index] for index in found)

    @property
    def classes(self) -> int:
        """The labels."""
        return len(self.field.classes)

    def class_counts(self, value: Tensor) -> NDArray[np.int64]:
        """See the base class."""
        if self.field.several:
            return np.asarray(value.numpy(), np.int64)
        return np.bincount([int(value)], minlength=self.classes).astype(np.int64)
