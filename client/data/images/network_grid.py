"""From the pixels of an image's file to those that a network sees."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from client.data.formats.picture import Picture
from client.data.images.resize import highest, padded, resize_image, resize_mask, resize_numbers
from client.data.images.target_shape import resampled_shape, target_shape
from shared.job.data_options import DataTable

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """How one image, and what lies on it, is resized and padded.

    Attributes:
        before: The spatial shape of the image as it was read.
        inner: The shape to which it is resized.
        outer: The shape to which that is padded.
        spacing: Millimetres along each axis afterwards, or None where it is unknown.
    """

    before: Shape
    inner: Shape
    outer: Shape
    spacing: tuple[float, ...] | None

    @classmethod
    def of(cls, picture: Picture, data: DataTable, where: Path) -> Self:
        """Return the grid that a job wants for an image.

        Raises:
            DataError: See `target_shape`.
        """
        before, outer = picture.shape, target_shape(picture, data, where)
        inner = outer
        if data.size is not None and data.resize != "stretch":
            pads = data.resize == "pad"
            inner = _within(before, outer) if pads else resampled_shape(picture, data, where)
        if picture.spacing is None:
            return cls(before, inner, outer, None)
        lengths = zip(picture.spacing, before, inner, strict=True)
        return cls(before, inner, outer, tuple(length * old / new for length, old, new in lengths))

    def image(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resize (C, *S); see `resize_image`."""
        return resize_image(array, self.inner)

    def tissue(self, background: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Return where in the resized image there is tissue (*S); None: everywhere."""
        if background is None:
            return None
        return ~resize_mask(background.astype(np.uint8), self.inner).astype(bool)

    def labels(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize and pad a mask (*S)."""
        resized: NDArray[np.uint8] = padded(resize_mask(mask, self.inner)[None], self.outer)[0]
        return resized

    def numbers(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """Resize and pad the numbers of instances (*S); nothing is in the padding."""
        resized = resize_numbers(numbers, self.inner)
        found = np.zeros(self.outer, np.int32)
        found[self._inside] = resized
        return found

    def padded(self, array: NDArray[Any]) -> NDArray[Any]:
        """Pad a resized image (C, *S)."""
        return padded(array, self.outer)

    def points(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        """Move places (N, D), counted in pixels from the image's edge."""
        return (points * np.divide(self.inner, self.before) + self.offset).astype(np.float32)

    def labels_before(self, scores: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the class of each pixel of the image as it was read (*S), from scores on the network's grid.

        Args:
            scores: Of each class (1 + K, *outer); resized linearly, and the highest wins.
        """
        return highest(self.inner_of(scores), self.before)

    def image_before(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an image (C, *outer) as large as it was read, (C, *S), resized linearly."""
        return resize_image(np.ascontiguousarray(self.inner_of(array)), self.before)

    def inner_of(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (C, *outer) without the padding: (C, *inner)."""
        return array[:, *self._inside]

    def numbers_before(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the numbers of instances on the image as it was read (*S), from those on (*outer)."""
        return resize_numbers(np.ascontiguousarray(numbers[self._inside]), self.before)

    def points_before(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Move places (N, D) back to the image as it was read; what lay in the padding moves to its edge."""
        scale = np.divide(self.before, self.inner)
        return np.clip((points.astype(np.float64) - self.offset) * scale, 0, self.before)

    @property
    def _inside(self) -> tuple[slice, ...]:
        """Where in the padded image the resized one is."""
        inner = zip(self.offset.tolist(), self.inner, strict=True)
        return tuple(slice(low, low + length) for low, length in inner)

    @property
    def offset(self) -> NDArray[np.int64]:
        """Pixels of padding before the image along each axis, (D,)."""
        return np.array([(outer - inner) // 2 for outer, inner in zip(self.outer, self.inner, strict=True)])


def _within(before: Shape, frame: Shape) -> Shape:
    """Return the largest shape of the same proportions within a frame."""
    scale = min(after / length for length, after in zip(before, frame, strict=True))
    return tuple(
        min(after, max(1, round(length * scale))) for length, after in zip(before, frame, strict=True)
    )
