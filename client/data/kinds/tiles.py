"""The images of a bag: tiles that were cut before, or that are cut from whole slides."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.formats.picture import Picture
from client.data.formats.slides import Slide, is_slide, open_slide
from client.data.images.colours import coloured
from client.data.images.file_hash import content_hash
from client.data.images.intensity import intensity
from client.data.images.network_grid import Grid
from client.data.images.readers import ENDINGS, read_images
from client.data.images.refusing import guarded
from client.data.images.stain import Stain, restained
from client.data.kinds.base import Instance, Kind
from client.data.kinds.image import PixelsKind
from client.data.kinds.slide_tiles import Tiling, drawn, tile, tiling
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from shared.errors import DataError
from shared.seeds import seed_of

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene

_MM = 1e-3  # of a micrometre


class TilesKind(PixelsKind):
    """(N, C, *S) float32: the images of a bag, in no order that means anything.

    The cell names a folder, or files as 'a.png|b.png'; with `[data] mpp` whole slides, as 'a.svs|b.tif' or a
    folder of DICOM, of which tiles are cut. The values of each tile are brought to a common range by
    themselves.

    Attributes:
        word: For one of them.
    """

    word: ClassVar[str] = "tile"
    stacks: ClassVar[bool] = False
    settings: ClassVar[frozenset[str]] = PixelsKind.settings | {"mpp", "tiles", "stain"}

    @property
    def mpp(self) -> float | None:
        """Micrometres of a pixel in the tiles that are cut from whole slides; None where files are tiles."""
        return self.data.mpp

    @property
    def draws(self) -> bool:
        """See the base class."""
        return self.mpp is not None and self.data.tiles is not None

    def files(self, record: Record) -> tuple[Path, ...]:
        """See the base class."""
        paths = self._named(record)
        if len(paths) == 1 and paths[0].is_dir() and self.mpp is None:
            return _inside(paths[0])
        return tuple(paths)

    def _named(self, record: Record) -> list[Path]:
        names = [name.strip() for name in record.filled(self.field.columns[0]).split("|")]
        return [record.below(name) for name in names]

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        fitted = [self._fitted(picture, path) for path, picture in self.pictures(record, scene)]
        return self._stacked([grid.padded(intensity(image, self.data)) for image, grid in fitted])

    def pictures(self, record: Record, scene: "Scene") -> list[tuple[Path, Picture]]:
        """Return the images as they are read, each with its file.

        Raises:
            DataError: A file can't be read, or does not fit the job.
        """
        found = []
        for path in self.files(record):
            key = content_hash(path)
            found += [(path, scene.filtered(one, key)) for one in self._of_file(path, key)]
        return found if self.data.stain is None else self._restained(found, self.data.stain)

    def _restained(self, found: list[tuple[Path, Picture]], stain: Stain) -> list[tuple[Path, Picture]]:
        """Return the tiles in one stain, by that of their slide; files that are tiles by that of the bag."""
        if self.mpp is None:
            colours = restained([picture.array for _, picture in found], stain)
            return [
                (path, replace(picture, array=own))
                for (path, picture), own in zip(found, colours, strict=True)
            ]
        whole: list[tuple[Path, Picture]] = []
        for path in dict.fromkeys(path for path, _ in found):
            pictures = [picture for own, picture in found if own == path]
            colours = guarded(path, partial(restained, [picture.array for picture in pictures], stain))
            whole += [(path, replace(one, array=own)) for one, own in zip(pictures, colours, strict=True)]
        return whole

    def instances(self, record: Record) -> list[Instance]:
        """See the base class."""
        found: list[Instance] = []
        for path in self.files(record):
            name, key = self._name(record, path), content_hash(path)
            if self.mpp is not None:
                found += guarded(path, lambda: self._placed(path, name, key))  # noqa: B023 (called at once)
            else:
                found += [Instance(name) for _ in self._of_file(path, key)]
        return found

    @staticmethod
    def _name(record: Record, path: Path) -> str:
        return path.relative_to(record.folder).as_posix() if path.is_relative_to(record.folder) else path.name

    def _placed(self, path: Path, name: str, key: str) -> list[Instance]:
        with open_slide(path) as slide:
            found, places, _ = self.tiling(slide, key)
            rows, columns = np.divide(slide.levels[0].shape, found.level.shape)
        height, width = round(found.side[0] * rows), round(found.side[1] * columns)
        return [
            Instance(name, round(left * columns), round(top * rows), width, height) for top, left in places
        ]

    def _of_file(self, path: Path, key: str) -> Sequence[Picture]:
        """Return the images of one file; `key` is the SHA-256 of its content."""
        if self.mpp is not None:
            return guarded(path, lambda: list(self._cut(path, key)))
        if is_slide(path):
            raise DataError(
                "is a whole slide",
                where=path,
                remedy="Say at which resolution its tiles are cut: [data] mpp.",
            )
        return self._apart(read_images([path], self.data.dimensions), path)

    def _cut(self, path: Path, key: str) -> Iterator[Picture]:
        with open_slide(path) as slide:
            found, places, size = self.tiling(slide, key)
            for place in places:
                yield self._coloured(Picture(tile(slide, found, place, size), self._spacing), path)

    def tiling(self, slide: Slide, key: str) -> tuple[Tiling, list[tuple[int, int]], tuple[int, int]]:
        """Return the tiles of a slide that have tissue, those that are taken, and their size.

        Args:
            slide: The slide.
            key: The SHA-256 of its content.

        Raises:
            DataError: There is none, or the slide is too coarse.
        """
        rows, columns = self.data.size or (0, 0)  # the job has checked it
        found = tiling(slide, self.mpp or 0.0, (rows, columns))
        places = drawn(found.places, self.data.tiles, seed_of(self.seed, "tiles", key))
        return found, places, (rows, columns)

    @property
    def _spacing(self) -> tuple[float, float]:
        return ((self.mpp or 0.0) * _MM,) * 2

    def _coloured(self, picture: Picture, path: Path) -> Picture:
        colour = self.data.colour
        if colour is not None:
            picture = replace(picture, array=coloured(picture.array, colour, path))
        if len(picture.array) != self.data.channels:
            raise DataError(
                f"has {len(picture.array)} channels, but the job wants {self.data.channels}", where=path
            )
        return picture

    def _stacked(self, images: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        if len({image.shape for image in images}) > 1:
            raise DataError(f"the {self.name} has images of several sizes", remedy="Set [data] size.")
        return np.stack(images)

    def _apart(self, picture: Picture, path: Path) -> Sequence[Picture]:
        """Return the images that one file holds."""
        return [self._coloured(picture, path)]

    def _fitted(self, picture: Picture, path: Path) -> tuple[NDArray[np.float32], Grid]:
        grid = Grid.of(picture, self.data, path)
        return grid.image(picture.array), grid

    def title(self, number: int, count: int) -> str:
        """Return what a person is told of one of that many images, from 0."""
        return f"{self.word} {number + 1} of {count}"

    def describe(self, record: Record, into: Tally) -> None:
        """See the base class: of slides the level, its resolution, and how much of them is tissue."""
        for path in self.files(record) if self.mpp is not None else ():
            guarded(path, partial(self._describe_slide, path, into))

    def _describe_slide(self, path: Path, into: Tally) -> None:
        with open_slide(path) as slide:
            found, _, _ = self.tiling(slide, "")
            number = next(place for place, level in enumerate(slide.levels) if level is found.level)
            into.counts[f"slides read from level {number}, of {len(slide.levels)}"] += 1
            into.counts["slides with a colour profile (ICC), which is not applied"] += slide.has_profile
            into.fact("micrometres per pixel of that level", max(found.level.mpp))
            into.fact("tiles with tissue of a slide", len(found.places))
            into.fact("tissue of a slide, %", 100 * found.share)

    def tally(self, value: NDArray[Any], into: Tally) -> None:
        """See the base class."""
        into.fact(f"images in the {self.name}", len(value))


def stack_of(kinds: Mapping[str, Kind]) -> TilesKind | None:
    """Return the first field of several images; None where a job has an image, or no such field."""
    if any(kind.field.kind == "image" for kind in kinds.values()):
        return None
    return next((kind for kind in kinds.values() if isinstance(kind, TilesKind)), None)


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
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)
