"""Boxes and points: how their files are read, and how their places become those of a network's grid.

In a picture x runs along the columns and y along the rows, from the top left, as it is looked at (a camera's
orientation tag is followed). In a volume x, y and z run along the file's own axes.
"""

import json
import math
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.formats.picture import Picture, Turn
from client.data.images.file_hash import content_hash
from client.data.images.readers import read_image
from client.data.kinds.base import Kind
from client.data.kinds.cells import is_missing
from client.data.manifest.csv_files import by_column, read_table
from client.data.manifest.rows import Record
from client.data.manifest.side_tables import SideTable, side_table_path
from shared.errors import DataError
from shared.job.data_options import DataTable
from shared.tasks.fields import Field, is_side_table
from shared.text.numbers import read_number

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene

Row = dict[str, str]
_DEPTH = ("z", "z0", "z1", "z_min", "z_max")
_LEAST_SIDE = 4  # pixels of an image whose places are not all within one of them


class PlacesKind(Kind):
    """A field whose values are places in an image, any number of them.

    They stand in the manifest's cell as JSON, in a file of its own (`.json`, `.csv`) that the cell names, in
    a table beside the manifest whose name ends in `.csv`, or in columns of the manifest's own.
    """

    stacks: ClassVar[bool] = False
    needs_image: ClassVar[bool] = True
    settings: ClassVar[frozenset[str]] = frozenset({"classes", "dimensions", "size", "spacing", "resize"})

    def __init__(self, name: str, field: Field, data: DataTable) -> None:
        super().__init__(name, field, data)
        self._tables: dict[Path, SideTable] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """See the base class; a table beside the manifest is not a column of it."""
        return () if self._beside else self.field.columns

    @property
    def file_columns(self) -> tuple[str, ...]:
        """See the base class; of several columns each has a number."""
        return self.field.columns if len(self.field.columns) == 1 else ()

    def files(self, record: Record) -> tuple[Path, ...]:
        """See the base class."""
        if self._beside:
            return (side_table_path(record, self.field.columns[0]),)
        if len(self.field.columns) > 1:
            return ()
        cell = record.cells.get(self.field.columns[0], "")
        return () if not cell or cell.startswith("[") else (record.below(cell),)

    def is_given(self, record: Record) -> bool:
        """See the base class; an empty cell says that there is none."""
        if self._beside:
            return all(path.is_file() for path in self.files(record))
        return all(column in record.cells for column in self.columns)

    def require_matches(self, records: Sequence[Record]) -> list[str]:
        """See the base class."""
        return self._table(records[0]).require_matches(records) if self._beside and records else []

    def source(self, record: Record) -> str:
        """See the base class."""
        if self._beside:
            return json.dumps(self._table(record).of(record))
        return "\x1f".join([super().source(record), *map(content_hash, self.files(record))])

    def rows(self, record: Record) -> list[Row] | list[list[Any]]:
        """Return what is written of a row's places: cells by column, or the lists of JSON.

        Raises:
            DataError: It is not what it should be.
        """
        if self._beside:
            return self._without_depth(self._table(record).of(record))
        if len(self.field.columns) > 1:
            return [{column: record.cells.get(column, "") for column in self.field.columns}]
        cell = record.cells.get(self.field.columns[0], "")
        if not cell:
            return []
        if cell.startswith("["):
            return _listed(cell, f"the {self.field.columns[0]} ", None)
        path = record.below(cell)
        if path.suffix.lower() == ".json":
            return _listed(_text(path), "", path)
        columns, table = read_table(path)
        return self._without_depth([by_column(columns, row, path) for row in table])

    def require_pixels(self, places: NDArray[np.float64], shape: tuple[int, ...]) -> None:
        """Refuse places (N, D), as they are written, that are shares of the image (YOLO's) and no pixels.

        Raises:
            DataError: All lie within the first pixel of a larger image, at fractions of it.
        """
        known = places[~np.isnan(places)]
        if not known.size or max(shape) < _LEAST_SIDE or (known < 0).any() or (known > 1).any():
            return
        if (known % 1).any():
            raise DataError(
                f"its {self.name} are shares of the image, all from 0 to 1, and not its pixels",
                remedy="Multiply x by the image's width, and y by its height.",
            )

    def _without_depth(self, rows: list[Row]) -> list[Row]:
        """Return rows, which for a picture say nothing of a third axis.

        Raises:
            DataError: They do: places in all slices of a volume would lie in one picture.
        """
        if self.data.dimensions == 2:
            depth = next((name for row in rows for name in _DEPTH if not is_missing(row.get(name, ""))), None)
            if depth is not None:
                raise DataError(
                    f"has a column '{depth}', and the job's images are pictures (2D)",
                    remedy="Give each slice an image and rows of its own, without that column.",
                )
        return rows

    @property
    def _beside(self) -> bool:
        return len(self.field.columns) == 1 and is_side_table(self.field.columns[0])

    def _table(self, record: Record) -> SideTable:
        path = side_table_path(record, self.field.columns[0])
        if path not in self._tables:
            self._tables[path] = SideTable.read(path)
        return self._tables[path]

    @abstractmethod
    def read(self, record: Record, scene: "Scene") -> NDArray[Any]:
        """See the base class."""

    def on_picture(self, places: NDArray[np.float64], record: Record, scene: "Scene") -> NDArray[np.float64]:
        """Return places (N, D), as they are written, in the order of the picture's axes.

        Args:
            places: x, y[, z], counted in pixels from the image's edge.
            record: The row.
            scene: Has the picture.
        """
        kind = scene.image_of(self)
        picture = scene.pictures[kind]
        if len(picture.shape) == 3:
            return picture.turn.places(places, picture.shape)
        shown = places[:, ::-1]
        tag = _undone_tag(picture, scene.paths[kind])
        return shown if tag is None else _stored(shown, tag, picture.shape)


def _undone_tag(picture: Picture, paths: Sequence[Path]) -> Turn | None:
    """Return the turn of a photograph whose orientation tag was left aside, as a companion asked for it."""
    if picture.affine is not None or picture.turn != Turn.none(2):
        return None
    turn = read_image(paths[0]).turn
    return None if turn == picture.turn else turn


def _stored(shown: NDArray[np.float64], tag: Turn, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return places in a photograph as it is stored, from those as it is shown."""
    unflipped = np.where(tag.flipped, np.array(tag.turned(shape)) - shown, shown)
    return unflipped[:, np.argsort(tag.axes)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise DataError("can't be read as text in UTF-8", where=path) from None


def _listed(text: str, what: str, where: Path | None) -> list[list[Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{what}is not valid JSON", where=where) from None
    if not isinstance(found, list) or not all(isinstance(one, list) for one in found):
        raise DataError(f"{what}is not a JSON list of lists", where=where)
    return found


def coordinate(value: Any) -> float:
    """Return a coordinate that a cell or a list of JSON holds; not a number where it is empty.

    Raises:
        DataError: It is something else.
    """
    if value is None or (isinstance(value, str) and is_missing(value)):
        return math.nan
    try:
        found = math.nan if isinstance(value, bool) else read_number(str(value))
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"'{value}' is not a coordinate")
    return found
