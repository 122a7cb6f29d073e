"""Several views of one thing, each a column of images; a row may lack some."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.data.formats.picture import Picture
from client.data.images.file_hash import content_hash
from client.data.images.intensity import intensity
from client.data.kinds.base import Instance
from client.data.kinds.image import PixelsKind
from client.data.kinds.tally import Tally
from client.data.kinds.tiles import TilesKind
from client.data.manifest.rows import Record
from client.data.motion.steps import Step, Value, whole
from shared.errors import DataError

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class ViewsKind(TilesKind):
    """(V, C, *S) float32: the images of V columns, in their order.

    One of which a row has no file is not a number, so that it can be told from an image. The values of each
    view are brought to a common range by themselves; all move and are shaded together.
    """

    word: ClassVar[str] = "view"
    settings: ClassVar[frozenset[str]] = PixelsKind.settings

    @property
    def mpp(self) -> None:
        """See the base class: views are not cut."""
        return

    def is_given(self, record: Record) -> bool:
        """See the base class: one view is enough."""
        return any(record.cells.get(column) for column in self.columns)

    def files(self, record: Record) -> tuple[Path, ...]:
        """See the base class: of the views that there are."""
        return tuple(path for _, path in self._there(record))

    def _there(self, record: Record) -> Iterator[tuple[str, Path]]:
        """Yield the column and the file of each view that a row has.

        Raises:
            DataError: It has none.
        """
        if not self.is_given(record):
            raise DataError(
                f"has no image in any of the columns {', '.join(self.columns)}",
                remedy="Leave the row out, or name the file of one view.",
            )
        yield from ((column, record.file(column)) for column in self.columns if record.cells.get(column))

    def source(self, record: Record) -> str:
        """See the base class; which view a file is, makes a difference."""
        return "-".join(f"{column}:{content_hash(path)}" for column, path in self._there(record))

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        found = {
            column: self._prepared(scene.filtered(picture, content_hash(path)), path)
            for column, path in self._there(record)
            for picture in self._of_file(path, "")
        }
        shape = self._stacked(list(found.values())).shape[1:]
        lacking = np.full(shape, np.nan, np.float32)
        return np.stack([found.get(column, lacking) for column in self.columns])

    def _prepared(self, picture: Picture, path: Path) -> NDArray[np.float32]:
        image, grid = self._fitted(picture, path)
        prepared: NDArray[np.float32] = grid.padded(intensity(image, self.data))
        return prepared

    def title(self, number: int, count: int) -> str:
        """See the base class."""
        return self.columns[number]

    def instances(self, record: Record) -> list[Instance]:
        """See the base class: all views, also those that are lacking."""
        return [Instance(column) for column in self.columns]

    def move(self, value: Value, steps: Sequence[Step]) -> Tensor:
        """See the base class; what is lacking stays so."""
        return _of_present(whole(value), lambda there: super(ViewsKind, self).move(there, steps))

    def shade(self, value: Tensor, names: Sequence[str], rng: np.random.Generator) -> Tensor:
        """See the base class; what is lacking stays so."""
        return _of_present(value, lambda there: super(ViewsKind, self).shade(there, names, rng))

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class."""
        for column, view in zip(self.columns, value, strict=True):
            into.missing[column] += bool(np.isnan(view).all())


def _of_present(value: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return views (V, C, *S) of which those that are there are changed; the change may alter their size."""
    there = ~value.flatten(1).isnan().all(dim=1)
    changed = change(value[there])
    found = torch.full((len(value), *changed.shape[1:]), torch.nan, dtype=changed.dtype)
    found[there] = changed
    return found
