"""Numbers that a model predicts: a volume, an age, a score."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.kinds.base import Kind
from client.data.kinds.cells import is_missing, number_in
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from shared.errors import DataError

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class NumberKind(Kind):
    """(K,) float32, one for each column; not a number where it may be missing and is."""

    in_manifest: ClassVar[bool] = True

    def is_given(self, record: Record) -> bool:
        """See the base class; what stands for a missing number is none."""
        return not any(is_missing(record.cells.get(column, "")) for column in self.columns)

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        values = [number_in(record, column) for column in self.field.columns]
        missing = [
            column for column, value in zip(self.field.columns, values, strict=True) if np.isnan(value)
        ]
        if missing and self.field.required:
            raise DataError(f"the {missing[0]} is missing")
        return np.array(values, np.float32)

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class."""
        for column, number in zip(self.field.columns, value.tolist(), strict=True):
            into.number(column, number)
