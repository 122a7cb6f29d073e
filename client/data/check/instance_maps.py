"""Whether masks that are taken for structures look like maps of instances."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.images.instances import pieces, renumbered
from client.data.images.masks import is_map

_WHOLE = 0.95  # share of the values that are one piece each
_LARGEST = 2**24  # pixels: to look at larger ones would take longer than to read them
_LEAST = 3  # different numbers of values in the masks: structures are mostly the same ones everywhere


@dataclass
class InstanceMaps:
    """What the values of masks look like.

    Attributes:
        counts: Numbers of values in the masks so far.
        whole: Values that are one piece of their mask.
        values: All values of all masks.
        counted: Whether each mask has the values 1 to N.
    """

    counts: set[int] = field(default_factory=set)
    whole: int = 0
    values: int = 0
    counted: bool = True

    def take(self, mask: NDArray[Any]) -> None:
        """Look at the values of a mask (*S), whole numbers of any type."""
        if mask.size > _LARGEST:
            return
        highest = round(float(np.max(mask, initial=0)))
        if highest <= 1 or not self.counted:
            self.counts |= {highest} - {0}
            return
        numbers, count = renumbered(np.rint(mask))
        self.counted = highest == count and is_map(numbers)
        if self.counted:
            self.counts.add(count)
            self.values += count
            self.whole += int((pieces(numbers) == 1).sum())

    def doubts(self) -> Iterator[str]:
        """Yield a question, where the masks could well be of instances."""
        if self.counted and len(self.counts) >= _LEAST and self.whole >= _WHOLE * self.values:
            yield (
                f"the masks look like maps of instances: each has values 1 to N (N from {min(self.counts)} "
                f"to {max(self.counts)}), and each value is one piece; a segmentation takes the values for "
                "structures. [task] name = 'instances' finds each object, mask = 'any' makes one structure"
            )
