"""Masks: which class each pixel is of."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.data.images.file_hash import content_hash
from client.data.images.mask_files import Mask, mask_files
from client.data.images.readers import structure_indices
from client.data.kinds.base import Kind
from client.data.kinds.drawing import Drawing
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from client.data.motion.steps import Step, Value, whole
from shared.tasks.fields import UNKNOWN_PIXEL

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class MaskKind(Kind):
    """(*S) uint8 class indices, 0 is the background; where a row has no mask `UNKNOWN_PIXEL`."""

    lies_on_grid: ClassVar[bool] = True
    needs_image: ClassVar[bool] = True

    def mask(self, record: Record) -> Mask:
        """Return the files of a row's mask: a map of labels, or one for each class."""
        return record.mask_in(self.field.columns[0])

    def files(self, record: Record) -> tuple[Path, ...]:
        """See the base class."""
        return () if self.is_unknown(record) else mask_files(self.mask(record))

    def source(self, record: Record) -> str:
        """See the base class."""
        return "-".join(content_hash(path) for path in self.files(record))

    @property
    def is_predicted(self) -> bool:
        """Whether it is what a model should find, and not only where that counts."""
        return not self.field.region

    @property
    def structures(self) -> tuple[str, ...]:
        """The structures of which each has a file, where a mask is in several; none says any number."""
        return () if self.field.instances else self.field.classes

    def stored(self, record: Record, scene: "Scene") -> NDArray[np.uint8] | NDArray[np.int32]:
        """Return the values (*S) on the grid of the image's file, as they are drawn and counted.

        Raises:
            DataError: They are not what the job takes.
        """
        return structure_indices(scene.raws[self.name], self.files(record)[0], self.field)

    def read(self, record: Record, scene: "Scene") -> NDArray[Any]:
        """See the base class."""
        if self.is_unknown(record):
            return np.full(scene.grid_of(self).outer, UNKNOWN_PIXEL, np.uint8)
        indices = structure_indices(scene.raws[self.name], self.files(record)[0], self.field)
        return scene.grid_of(self).labels(indices)

    def move(self, value: Value, steps: Sequence[Step]) -> Tensor:
        """See the base class."""
        for step in steps:
            value = step.labels(value)
        return whole(value)

    def centre(self, value: Value, rng: np.random.Generator, memo: dict[str, Any]) -> Sequence[int] | None:
        """See the base class: any pixel of a structure, each as likely. Only its slab of the mask is read."""
        if self.name not in memo:
            mask = whole(value).numpy()
            memo[self.name] = np.cumsum(np.count_nonzero(mask.reshape(len(mask), -1), axis=1))
        up_to = memo[self.name]  # pixels of structures in the slabs up to each along the first axis
        if not up_to[-1]:
            return None
        chosen = int(rng.integers(up_to[-1]))
        slab = int(np.searchsorted(up_to, chosen, side="right"))
        rest = (slice(None),) * (len(value.shape) - 1)
        flat = np.flatnonzero(value[(slice(slab, slab + 1), *rest)].numpy())
        at = flat[chosen - (up_to[slab - 1] if slab else 0)]
        return [slab, *(int(place) for place in np.unravel_index(at, tuple(value.shape[1:])))]

    def drawing(self, value: NDArray[Any]) -> Drawing:
        """See the base class: of a mask that nobody has drawn, nothing."""
        is_unknown = self.field.partly_known and value.max() == UNKNOWN_PIXEL
        return Drawing() if is_unknown else Drawing(areas=value)

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class: in how many masks each structure is, and how many rows have none."""
        if self.field.partly_known and value.max() == UNKNOWN_PIXEL:
            into.missing[self.columns[0]] += 1
            return
        found = [index for index in np.unique(value).tolist() if index]
        into.counts.update(self.field.classes[index - 1] for index in found)

    @property
    def classes(self) -> int:
        """The background and the structures."""
        return 1 + len(self.field.classes)

    def class_counts(self, value: Tensor) -> NDArray[np.int64]:
        """See the base class; pixels, background first."""
        return np.bincount(value.numpy().ravel(), minlength=self.classes).astype(np.int64)
