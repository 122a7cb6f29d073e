"""Vectors: a bag of instances that were described by numbers before (features of tiles, of molecules)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.kinds.base import Kind
from client.data.kinds.places import coordinate
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from client.data.manifest.side_tables import SideTable, side_table_path
from shared.errors import DataError
from shared.job.schema import DataTable
from shared.tasks.fields import Field

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class VectorsKind(Kind):
    """(N, F) float32: the rows of a CSV beside the manifest that belong to the sample's patient or image.

    All columns but the one that says what a row belongs to are numbers.
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

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        table = self._table(record)
        rows, path = table.of(record), table.path
        if not rows:
            raise DataError(f"has no rows of '{record.patient}'", where=path)
        columns = [column for column in table.columns if column != table.by]
        values = np.array([[coordinate(row[column]) for column in columns] for row in rows], np.float32)
        if np.isnan(values).any():
            raise DataError(f"lacks a number in a row of '{record.patient}'", where=path)
        return values

    def _table(self, record: Record) -> SideTable:
        (path,) = self.files(record)
        return self._tables.get(path) or self._tables.setdefault(path, SideTable.read(path))

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class."""
        into.number(f"vectors in the {self.name}", len(value))
