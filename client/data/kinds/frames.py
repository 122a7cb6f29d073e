"""Several images of one sample: the tiles of a bag, the frames of a series."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.formats.picture import Picture
from client.data.images.file_hash import content_hash
from client.data.images.intensity import intensity
from client.data.images.network_grid import Grid
from client.data.images.readers import ENDINGS, read_images
from client.data.kinds.image import PixelsKind
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from shared.errors import DataError

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


class TilesKind(PixelsKind):
    """(N, C, *S) float32: the images of a bag, in no order that means anything.

    The cell names a folder, or files as 'a.png|b.png'. The values of each tile are brought to a common range
    by themselves.
    """

    stacks: ClassVar[bool] = False

    def files(self, record: Record) -> tuple[Path, ...]:
        """See the base class."""
        names = [name.strip() for name in record.filled(self.field.columns[0]).split("|")]
        paths = [record.below(name) for name in names]
        return _inside(paths[0]) if len(paths) == 1 and paths[0].is_dir() else tuple(paths)

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        fitted = [self._fitted(picture, path) for path, picture in self._pictures(record, scene)]
        return self._stacked([grid.padded(intensity(image, self.data)) for image, grid in fitted])

    def _pictures(self, record: Record, scene: "Scene") -> list[tuple[Path, Picture]]:
        found = []
        for path in self.files(record):
            picture = read_images([path], self.data.dimensions)
            found += [(path, scene.filtered(one, content_hash(path))) for one in self._apart(picture, path)]
        return found

    def _stacked(self, images: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        if len({image.shape for image in images}) > 1:
            raise DataError(f"the {self.name} has images of several sizes", remedy="Set [data] size.")
        return np.stack(images)

    def _apart(self, picture: Picture, path: Path) -> Sequence[Picture]:
        """Return the images that one file holds."""
        if len(picture.array) != self.data.channels:
            raise DataError(
                f"has {len(picture.array)} channels, but the job wants {self.data.channels}", where=path
            )
        return [picture]

    def _fitted(self, picture: Picture, path: Path) -> tuple[NDArray[np.float32], Grid]:
        grid = Grid.of(picture, self.data, path)
        return grid.image(picture.array), grid

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class."""
        into.number(f"images in the {self.name}", len(value))


class SeriesKind(TilesKind):
    """(T, C, *S) float32: the frames of a series in the order of time.

    The cell names a folder, whose files are taken in the order of the numbers in their names; files as
    'a.png|b.png'; or one file whose channels are frames (NIfTI with a fourth axis, a DICOM series with
    several time points). The values of all frames are brought to a common range together.
    """

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        fitted = [self._fitted(picture, path) for path, picture in self._pictures(record, scene)]
        whole = np.moveaxis(self._stacked([image for image, _ in fitted]), 1, 0)  # (C, T, *S)
        frames = np.moveaxis(intensity(np.ascontiguousarray(whole), self.data), 0, 1)
        return np.stack([grid.padded(frame) for frame, (_, grid) in zip(frames, fitted, strict=True)])

    def _apart(self, picture: Picture, path: Path) -> Sequence[Picture]:
        channels = self.data.channels
        if len(picture.array) % channels:
            raise DataError(
                f"has {len(picture.array)} channels, which are not frames of {channels}", where=path
            )
        parts = np.split(picture.array, len(picture.array) // channels)
        return [replace(picture, array=part) for part in parts]


def _inside(folder: Path) -> tuple[Path, ...]:
    """Return the image files of a folder, ordered by the numbers in their names.

    Raises:
        DataError: There is none.
    """
    found = [file for file in folder.iterdir() if file.is_file() and file.name.lower().endswith(ENDINGS)]
    if not found:
        raise DataError("holds no images of a known format", where=folder)
    return tuple(sorted(found, key=lambda path: [_part(part) for part in re.split(r"(\d+)", path.name)]))


def _part(text: str) -> tuple[int, int, str]:
    return (0, int(text), "") if text.isdigit() else (1, 0, text)
