"""The grid of an image in the order of axes of its DICOM files: planes, rows, columns."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from client.data.formats.dicom.place import TO_RAS
from client.data.formats.picture import Picture
from client.predict.dicom.source import Source
from client.predict.places import stored_affine
from shared.errors import DataError

_PLANES_FIRST, _PLANES_LAST = (0, 1, 2), (2, 0, 1)
_ASIDE = 0.05  # of the distance between two planes: how far an image may lie from where it should


@dataclass(frozen=True)
class Plane:
    """An image of a volume: a file, or a frame of one.

    Attributes:
        header: Of the file.
        frame: Its number, from 1; None where the file has one image.
    """

    header: Dataset
    frame: int | None


@dataclass(frozen=True)
class FileGrid:
    """Where an image's pixels lie in its files.

    Attributes:
        picture: The image.
        source: Its files.
        order: Of the axes of the image as it is stored, which are planes, rows and columns; rows and columns
            alone of a single image.
    """

    picture: Picture
    source: Source
    order: tuple[int, ...]

    @classmethod
    def of(cls, picture: Picture, source: Source) -> Self:
        """Return the grid of an image: slices are stacked along the last axis, frames along the first."""
        if picture.turn.stored == 2:
            return cls(picture, source, (0, 1))
        has_frames = "PerFrameFunctionalGroupsSequence" in source.first
        return cls(picture, source, _PLANES_FIRST if has_frames else _PLANES_LAST)

    @property
    def is_flat(self) -> bool:
        """Whether it is one image without a third axis."""
        return len(self.order) == 2

    @property
    def frame_of_reference(self) -> str:
        """The frame of reference of the files.

        Raises:
            DataError: They do not say it.
        """
        found = self.source.first.get("FrameOfReferenceUID")
        if not found:
            raise DataError(
                "lacks a FrameOfReferenceUID: where a result lies could not be said", where=self.source.path
            )
        return str(found)

    def array(self, shown: NDArray[Any]) -> NDArray[Any]:
        """Return what lies on the picture (*S) as the files have it: ([planes, ]rows, columns)."""
        return np.ascontiguousarray(self.picture.turn.undo(shown).transpose(self.order))

    def affine(self) -> NDArray[np.float64]:
        """Return (4, 4): (plane, row, column, 1) to LPS mm."""
        return (TO_RAS @ stored_affine(self.picture))[:, [*self.order, 3]]

    def boxes(self, stored: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return corners (N, 2, D) in the stored order of axes as those of ([planes, ]rows, columns)."""
        return stored[..., list(self.order)]

    def planes(self) -> list[Plane]:
        """Return the image of each plane.

        Raises:
            DataError: The planes do not lie where the files' images do: a tilted gantry, or a mosaic.
        """
        if self.is_flat:
            return [Plane(self.source.first, None)]
        affine = self.affine()
        images, places = _images(self.source)
        found = []
        for number in range(self.picture.turn.undo(self.picture.array[0]).shape[self.order[0]]):
            away = np.linalg.norm(places - (affine[:3, 3] + number * affine[:3, 0]), axis=1)
            if not len(away) or away.min() > _ASIDE * np.linalg.norm(affine[:3, 0]):
                raise DataError(
                    "has no image in each plane of what was seen (a tilted gantry, a mosaic), which "
                    "measurements would refer to",
                    where=self.source.path,
                )
            found.append(images[int(away.argmin())])
        return found


def _images(source: Source) -> tuple[list[Plane], NDArray[np.float64]]:
    """Return the images of files, and the centre of the first pixel of each (N, 3), LPS mm."""
    images, places = [], []
    for header in source.headers:
        frames = header.get("PerFrameFunctionalGroupsSequence")
        if frames is None:
            images.append(Plane(header, None))
            places.append(header.get("ImagePositionPatient"))
            continue
        for number, group in enumerate(frames, 1):
            position = (group.get("PlanePositionSequence") or [Dataset()])[0]
            images.append(Plane(header, number))
            places.append(position.get("ImagePositionPatient"))
    known = [number for number, place in enumerate(places) if place]
    where = np.array([[float(one) for one in places[number]] for number in known]).reshape(-1, 3)
    return [images[number] for number in known], where
