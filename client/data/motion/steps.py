"""How a sample is moved: each step is drawn once, and moves pictures, labels and points alike.

Places are counted in pixels along each axis from the image's edge, so that pixel i covers i to i + 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from shared.errors import DataError

Shape = tuple[int, ...]
Window = tuple[slice, ...]


class Value(Protocol):
    """An array (..., *S) of which windows are read: a tensor, or one that lies on the disk."""

    @property
    def shape(self) -> Sequence[int]: ...  # noqa: D102
    def __getitem__(self, window: tuple[slice | EllipsisType, ...]) -> Tensor: ...


def whole(value: Value) -> Tensor:
    """Return all of an array."""
    return value if isinstance(value, Tensor) else value[...,]


class Step(ABC):
    """One change of place of a whole sample.

    Attributes:
        before: The spatial shape before it.
        bends: Whether straight lines become bent ones.
    """

    bends: ClassVar[bool] = False

    before: Shape

    @abstractmethod
    def picture(self, values: Value) -> Tensor:
        """Move numbers (..., *S); between pixels they are mixed linearly."""

    @abstractmethod
    def labels(self, values: Value) -> Tensor:
        """Move labels (..., *S), at most 2^24; between pixels the nearest counts, beyond the edge is 0."""

    @abstractmethod
    def points(self, points: Tensor) -> Tensor:
        """Move places (N, D), float32; what leaves the image has its place outside of it."""

    def shape(self, before: Shape) -> Shape:
        """Return the spatial shape after the step."""
        return before


@dataclass(frozen=True)
class Crop(Step):
    """Cut a patch out of an image that is padded with zeros where it is smaller.

    Attributes:
        before: The image's spatial shape.
        start: The patch's first pixel in the padded image.
        patch: Its shape.
    """

    before: Shape
    start: Shape
    patch: Shape

    def picture(self, values: Value) -> Tensor:
        """See the base class; of an array on the disk only the patch is read."""
        if tuple(values.shape[-len(self.patch) :]) != self.before:
            raise DataError(
                "the images of a sample have several shapes, and one patch is cut out of all of them",
                remedy="Set [data] size, or a grid that they share.",
            )
        ends = list(zip(self._first, self.before, self.patch, strict=True))
        inside = tuple(
            slice(max(0, first), max(0, min(length, first + size))) for first, length, size in ends
        )
        cut = values[(..., *inside)]
        widths: list[int] = []
        for first, length, size in reversed(ends):
            widths += [max(0, -first), max(0, first + size - length)]
        return pad(cut, widths) if any(widths) else cut

    def labels(self, values: Value) -> Tensor:
        """See the base class."""
        return self.picture(values)

    def points(self, points: Tensor) -> Tensor:
        """See the base class."""
        return points - points.new_tensor(self._first)

    def shape(self, before: Shape) -> Shape:
        """See the base class."""
        return self.patch

    @property
    def _first(self) -> list[int]:
        """The patch's first pixel in the image itself, below 0 where that was padded."""
        padding = padding_before(self.before, self.patch)
        return [start - width for start, width in zip(self.start, padding, strict=True)]


def padding_before(shape: Sequence[int], patch: Sequence[int]) -> list[int]:
    """Return by how many pixels an image is padded at the start of each axis to be as large as a patch."""
    return [max(0, wanted - length) // 2 for length, wanted in zip(shape, patch, strict=True)]


@dataclass(frozen=True)
class Flip(Step):
    """Mirror along axes, given as negative numbers counted from the last."""

    axes: tuple[int, ...]
    before: Shape

    def picture(self, values: Value) -> Tensor:
        """See the base class."""
        return whole(values).flip(self.axes)

    def labels(self, values: Value) -> Tensor:
        """See the base class."""
        return self.picture(values)

    def points(self, points: Tensor) -> Tensor:
        """See the base class."""
        moved = points.clone()
        for axis in self.axes:
            moved[:, axis] = self.before[axis] - points[:, axis]
        return moved


@dataclass(frozen=True)
class QuarterTurns(Step):
    """Turn in the plane of the first two axes by quarter turns; by half turns where it is not square."""

    turns: int
    before: Shape

    def picture(self, values: Value) -> Tensor:
        """See the base class."""
        first = -len(self.before)
        return whole(values).rot90(self.turns, (first, first + 1))

    def labels(self, values: Value) -> Tensor:
        """See the base class."""
        return self.picture(values)

    def points(self, points: Tensor) -> Tensor:
        """See the base class."""
        rows, columns = self.before[:2]
        for _ in range(self.turns % 4):  # a turn takes what lies at the end of the second axis to the start
            first, second = columns - points[:, 1], points[:, 0]
            points = torch.cat([torch.stack([first, second], dim=1), points[:, 2:]], dim=1)
            rows, columns = columns, rows
        return points


@dataclass(frozen=True)
class Warp(Step):
    """Resample about the centre.

    Attributes:
        matrix: (D, D), from offsets from the centre in the output, in pixels, to the input.
        before: The spatial shape.
        shift: Added to the places in the input, in pixels along each axis; nothing where it is empty.
    """

    matrix: Tensor
    before: Shape
    shift: tuple[float, ...] = ()

    def picture(self, values: Value) -> Tensor:
        """See the base class; beyond the edge the border goes on."""
        tensor = whole(values)
        moved = grid_sample(
            tensor.reshape(1, -1, *self._shape_of(tensor)),
            self._grid(tensor),
            padding_mode="border",
            align_corners=False,
        )
        return moved.reshape(tensor.shape)

    def labels(self, values: Value) -> Tensor:
        """See the base class."""
        tensor = whole(values)
        numbers = tensor.reshape(1, -1, *self._shape_of(tensor)).float()
        moved = grid_sample(numbers, self._grid(tensor), mode="nearest", align_corners=False)
        return moved.reshape(tensor.shape).to(tensor.dtype)

    def points(self, points: Tensor) -> Tensor:
        """See the base class."""
        centre = points.new_tensor(self.before) / 2
        if self.shift:
            points = points - points.new_tensor(self.shift)
        return (points - centre) @ torch.linalg.inv(self.matrix).T + centre

    def _shape_of(self, tensor: Tensor) -> Shape:
        return tuple(tensor.shape[-len(self.before) :])

    def _grid(self, tensor: Tensor) -> Tensor:
        shape = self._shape_of(tensor)
        half = torch.tensor(shape) / 2
        # grid_sample counts from -1 to 1, last axis first
        normalised = (self.matrix * half / half[:, None]).flip(0, 1)
        shift = torch.tensor(self.shift) / half if self.shift else torch.zeros(len(half))
        theta = torch.cat([normalised, shift.flip(0)[:, None]], dim=1)[None]
        return affine_grid(theta, [1, 1, *shape], align_corners=False)
