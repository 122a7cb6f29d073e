"""Vectors: a bag of instances that were described by numbers before (features of tiles, of molecules)."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.kinds.base import Instance, Kind
from client.data.kinds.places import coordinate
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from client.data.manifest.side_tables import SideTable, side_table_path
from shared.errors import DataError
from shared.job.data_options import DataTable
from shared.tasks.fields import Field
from shared.text.names import suggestion
from shared.text.plural import many

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class VectorsKind(Kind):
    """(N, F) float32: the rows of a CSV beside the manifest that belong to the sample's patient or image.

    All columns but the one that says what a row belongs to are numbers. Rows are in the order of the file, or
    in that of a column of numbers that the field names, which is then none of the F.
    """

    in_manifest: ClassVar[bool] = True
    stacks: ClassVar[bool] = False

    def __init__(self, name: str, field: Field, data: DataTable) -> None:
        super().__init__(name, field, data)
        self._tables: dict[Path, SideTable] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """See the base class; a table beside the manifest is not a column of it."""
        return ()

    def files(self, record: Record) -> tuple[Path, ...]:
        """See the base class."""
        return (side_table_path(record, self.field.columns[0]),)

    def source(self, record: Record) -> str:
        """See the base class: a hash of the rows."""
        rows = self._table(record).of(record)
        return hashlib.sha256("\n".join("\x1f".join(row.values()) for row in rows).encode()).hexdigest()

    def require_matches(self, records: Sequence[Record]) -> list[str]:
        """See the base class."""
        return self._table(records[0]).require_matches(records) if records else []

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        table, order = self._table(record), self.field.order
        rows, path = table.of(record), table.path
        if not rows:
            raise DataError(f"has no rows of '{record.patient}'", where=path)
        if order is not None and order not in table.columns:
            raise DataError(f"has no column '{order}'; {suggestion(order, table.columns)}", where=path)
        columns = [column for column in table.columns if column not in (table.by, order)]
        if self.field.length not in (0, len(columns)):
            raise DataError(
                f"has {many(len(columns), 'number')} in a row, and the job wants {self.field.length}",
                where=path,
            )
        values = self._numbers(record, rows, columns, path).astype(np.float32)
        if order is None:
            return values
        moments = self._numbers(record, rows, [order], path)[:, 0]
        if len(np.unique(moments)) < len(moments):
            raise DataError(f"has two rows of '{record.patient}' at one {order}", where=path)
        return values[np.argsort(moments, kind="stable")]

    @staticmethod
    def _numbers(
        record: Record, rows: Sequence[Mapping[str, str]], columns: Sequence[str], path: Path
    ) -> NDArray[np.float64]:
        values = np.array([[coordinate(row[column]) for column in columns] for row in rows])
        if np.isnan(values).any():
            raise DataError(f"lacks a number in a row of '{record.patient}'", where=path)
        return values

    def instances(self, record: Record) -> list[Instance]:
        """See the base class."""
        return [Instance("") for _ in self._table(record).of(record)]

    def _table(self, record: Record) -> SideTable:
        (path,) = self.files(record)
        return self._tables.get(path) or self._tables.setdefault(path, SideTable.read(path))

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class."""
        into.number(f"vectors in the {self.name}", len(value))
