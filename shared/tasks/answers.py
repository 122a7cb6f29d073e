"""What networks say of one sample, as people read it: a row of a table, a mask, boxes, a curve."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

Cell = str | int | float


@dataclass(frozen=True)
class FoundBoxes:
    """The boxes found in one image, the best first, in pixels of what the network sees.

    Attributes:
        corners: Lower and upper corner (N, 2 D).
        classes: Index of each box's class (N,).
        scores: In 0..1 (N,).
    """

    corners: Tensor
    classes: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Answer:
    """What is said of one sample.

    Attributes:
        cells: Of its row in a table, by column: what was predicted and, where the truth is known, how right
            it is. What is not defined is not a number.
        map: Logits (1 + K, *S) of the background and the structures, on the grid that the network sees.
        boxes: Where the task finds any.
        curve: Times and values (N,) each; such as the chance to survive.
        attention: Share of each instance (N,) of a bag or a series, in their order.
    """

    cells: Mapping[str, Cell]
    map: Tensor | None = None
    boxes: FoundBoxes | None = None
    curve: tuple[Tensor, Tensor] | None = None
    attention: Tensor | None = None
