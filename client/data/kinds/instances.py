"""Instances: which object each pixel is of, such as a cell."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.data.images.instances import instance_numbers, pieces
from client.data.images.refusing import refusing
from client.data.kinds.base import Kind
from client.data.kinds.drawing import Drawing
from client.data.kinds.mask import MaskKind
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from shared.errors import DataError

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene

_LOSSY = (".jpg", ".jpeg")
_TORN = 0.5  # share of an image's instances in several pieces from which it is worth a question


class InstancesKind(MaskKind):
    """(*S) int32: the number of each pixel's instance, 1 to N; 0 is the background.

    They are written as a map of numbers, as masks of one object each (`a.png|b.png`), or as a folder of such
    masks. An instance of which an augmentation leaves a part is that part.
    """

    @property
    def structures(self) -> tuple[str, ...]:
        """See the base class: any number of objects."""
        return ()

    def stored(self, record: Record, scene: "Scene") -> NDArray[np.int32]:
        """See the base class."""
        path = self.files(record)[0]
        if path.suffix.lower() in _LOSSY:
            raise DataError("is a JPEG, whose values blur", where=path, remedy="Save masks as PNG.")
        return refusing(path, lambda: instance_numbers(scene.raws[self.name], path))

    def read(self, record: Record, scene: "Scene") -> NDArray[np.int32]:
        """See the base class."""
        return scene.grid_of(self).numbers(self.stored(record, scene))

    def drawing(self, value: NDArray[Any]) -> Drawing:
        """See the base class."""
        return Drawing(areas=value, instances=True)

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class: how many an image has, and whether each is one piece."""
        of_each = pieces(value)[np.unique(value[value != 0]) - 1]
        into.counts[self.field.classes[0]] += len(of_each)
        into.fact("instances in an image", len(of_each))
        into.none["instances in an image"] += not len(of_each)
        if len(of_each) and (of_each > 1).mean() >= _TORN:
            into.doubtful["most instances are of several pieces: is each object numbered?"] += 1

    @property
    def classes(self) -> int:
        """See the base class: numbers of instances are not classes."""
        return 0

    def class_counts(self, value: Tensor) -> NDArray[np.int64]:
        """See the base class."""
        return Kind.class_counts(self, value)
