"""What networks say of one sample, as people read it: a row of a table, masks, boxes, images, a curve."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
class FoundImage:
    """An image that is made of the one that was given: restored, moved, of another sequence.

    Attributes:
        values: (C, *S), on the grid that the network sees.
        holds: What its numbers are: `units`, prepared values of an image field, brought back to the units of
            that field's file; `share`, from 0 (black) to 1 (white), in nobody's units; or `numbers`, such as
            millimetres, written as they are.
        of: The field whose units these are; the first image where it is not said.
        channels: Which of that field's channels they are; all of them for None.
        fine: Whether it stays on the network's grid, which may be finer than the file's.
        given: (C, *S), what it is to be looked at beside, where that is in no file as an image.
    """

    values: Tensor
    holds: Literal["units", "share", "numbers"]
    of: str | None = None
    channels: tuple[int, ...] | None = None
    fine: bool = False
    given: Tensor | None = None


@dataclass(frozen=True)
class FoundField:
    """Where each pixel of the first image belongs in another image.

    Attributes:
        values: (D, *S) on the grid that the network sees, in its pixels along each axis: a pixel's place plus
            this is the place in the other image, on that one's own grid of the same size.
        to: The other image's field.
    """

    values: Tensor
    to: str


@dataclass(frozen=True)
class Answer:
    """What is said of one sample.

    Attributes:
        cells: Of its row in a table, by column: what was predicted and, where the truth is known, how right
            it is. What is not defined is not a number.
        map: Logits (1 + K, *S) of the background and the structures, on the grid that the network sees.
        instances: Of each pixel (*S), int32: the number of its instance, 0 for none; on the same grid.
        boxes: Where the task finds any.
        images: By what they are, in a word that a file may be called by ("restored"). They lie on the first
            image.
        displacement: Between the first image and another one.
        curve: Times and values (N,) each; such as the chance to survive.
        reasons: Maps (*S) of what speaks for the answer (above zero) and against it, by the method that found
            them; on the grid that the network sees.
        attention: Share of each instance (N,) of a bag or a series, in their order.
    """

    cells: Mapping[str, Cell]
    map: Tensor | None = None
    instances: Tensor | None = None
    boxes: FoundBoxes | None = None
    images: Mapping[str, FoundImage] = field(default_factory=dict)
    displacement: FoundField | None = None
    curve: tuple[Tensor, Tensor] | None = None
    attention: Tensor | None = None
    reasons: Mapping[str, Tensor] = field(default_factory=dict)
