"""Events: how long somebody was followed, and whether it happened by then."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.kinds.base import Kind
from client.data.kinds.cells import is_missing, number_in, yes_or_no
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from shared.errors import DataError

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class EventKind(Kind):
    """(2,) float32: the time, and 1 where the event was observed, 0 where it was censored.

    Two columns: the time, in whatever unit the job means, and whether the event was observed.
    """

    in_manifest: ClassVar[bool] = True

    def is_given(self, record: Record) -> bool:
        """See the base class; what stands for a missing number is none."""
        return not any(is_missing(record.cells.get(column, "")) for column in self.columns)

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        time_column, observed_column = self.field.columns
        time = number_in(record, time_column)
        if np.isnan(time):
            raise DataError(f"the {time_column} is missing")
        if time < 0:
            raise DataError(f"the {time_column} {time:g} is below 0")
        return np.array([time, yes_or_no(record, observed_column)], np.float32)

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class."""
        into.number(self.field.columns[0], float(value[0]))
        into.counts["observed" if value[1] else "censored"] += 1
