"""Tables: the columns of a row that a model sees, numbers and categories."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.kinds.base import Kind
from client.data.kinds.cells import is_missing, number_in
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from shared.errors import DataError
from shared.tasks.fields import numbers_in
from shared.text.names import suggestion

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class TableKind(Kind):
    """(K,) float32: one for each number, one of 0 and 1 for each value of a category.

    What is missing is not a number (of a category: all of its values), so that it can be told from what is
    known (`torch.isnan`); what stands in for it is the task's to say, from the statistics of all sites.
    """

    in_manifest: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each of the K numbers, such as 'age' and 'sex=male'."""
        return numbers_in(self.field)

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        values = [number for column in self.field.columns for number in self._numbers(record, column)]
        return np.array(values, np.float32)

    def _numbers(self, record: Record, column: str) -> list[float]:
        known = self.field.categories.get(column)
        if known is None:
            return [number_in(record, column)]
        cell = record.cells.get(column, "")
        if cell in known:
            return [float(cell == value) for value in known]
        if is_missing(cell):
            return [np.nan] * len(known)
        raise DataError(f"the {column} '{cell}' is not a category of the job; {suggestion(cell, known)}")

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class."""
        by_name = dict(zip(self.names, value.tolist(), strict=True))
        for column in self.field.columns:
            known = self.field.categories.get(column)
            if known is None:
                into.number(column, by_name[column])
                continue
            names = [f"{column}={category}" for category in known]
            into.missing[column] += bool(np.isnan(by_name[names[0]]))
            for name in names:
                into.counts[name] += by_name[name] == 1
