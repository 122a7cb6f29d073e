"""The images and masks of one row as their files hold them: those of one grid lie on each other."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from client.data.formats.picture import Picture
from client.data.images.made_for import require_made_for
from client.data.images.network_grid import Grid
from client.data.images.readers import Layout, read_files
from client.data.kinds.base import Kind
from client.data.kinds.image import ImageKind
from client.data.kinds.mask import MaskKind
from client.data.manifest.rows import Record
from shared.job.data_options import DataTable


class ImageFilter(Protocol):
    """A change to images as they are read; simulated scanners are such filters.

    Attributes:
        digest: Names the filter and all its settings; part of the name under which a sample is stored.
    """

    @property
    def digest(self) -> str: ...  # noqa: D102

    def __call__(self, image: NDArray[np.float32], key: str) -> NDArray[np.float32]:
        """Return the changed image (C, *S); `key`, the SHA-256 of its files, seeds what is random."""


@dataclass(frozen=True)
class Scene:
    """What the files of a row hold.

    Attributes:
        pictures: By image field.
        raws: By mask field: its own values, on its image's grid.
        grids: By image field: what becomes of its pixels.
        paths: By image field: its files.
        image_filter: Changes each image before anything else.
    """

    pictures: Mapping[str, Picture]
    raws: Mapping[str, Picture]
    grids: Mapping[str, Grid]
    paths: Mapping[str, tuple[Path, ...]]
    image_filter: ImageFilter | None = None

    def filtered(self, picture: Picture, key: str) -> Picture:
        """Return a picture as the filter leaves it; `key` is the SHA-256 of its files."""
        if self.image_filter is None:
            return picture
        return replace(picture, array=self.image_filter(picture.array, key))

    def image_of(self, kind: Kind) -> str:
        """Return the name of the image on which a field lies."""
        return image_of(kind, self.grids)

    def grid_of(self, kind: Kind) -> Grid:
        """Return the grid of the image on which a field lies."""
        return self.grids[image_of(kind, self.grids)]

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Millimetres along each axis of the first image; None where there is none, or it does not say."""
        first = next(iter(self.grids.values()), None)
        return None if first is None else first.spacing


NOTHING = Scene({}, {}, {}, {})
"""What there is to read for fields that stand in the manifest itself."""


def image_of(kind: Kind, images: Mapping[str, object]) -> str:
    """Return the name of the image on which a field lies: the one it names, or the first."""
    return kind.field.grid or next(iter(images))


def read_scene(
    record: Record, kinds: Mapping[str, Kind], data: DataTable, image_filter: ImageFilter | None = None
) -> Scene:
    """Read the images and masks of a row.

    Args:
        record: The row.
        kinds: Of all fields.
        data: The job's.
        image_filter: Changes each image before anything else.

    Raises:
        DataError: As `client.data.images.readers.read_files`.
    """
    images = {
        name: kind for name, kind in kinds.items() if isinstance(kind, ImageKind) and kind.is_given(record)
    }
    masks = {
        name: kind
        for name, kind in kinds.items()
        if isinstance(kind, MaskKind) and not kind.is_unknown(record)
    }
    members: dict[str, dict[str, ImageKind]] = defaultdict(dict)
    for name, kind in images.items():
        members[kind.field.grid or name][name] = kind
    pictures: dict[str, Picture] = {}
    raws: dict[str, Picture] = {}
    grids: dict[str, Grid] = {}
    for group in members.values():
        lying = {name: kind for name, kind in masks.items() if image_of(kind, images) in group}
        found, on_them = _read_group(record, group, lying, data)
        raws |= on_them
        for name, picture in found.items():
            own = group[name]
            require_made_for(picture, data, own.files(record)[0])
            grids[name] = Grid.of(picture, data, own.files(record)[0])
            pictures[name] = picture
    paths = {name: kind.files(record) for name, kind in images.items()}
    scene = Scene(pictures, raws, grids, paths, image_filter)
    if image_filter is None:
        return scene
    found = {name: scene.filtered(pictures[name], kind.source(record)) for name, kind in images.items()}
    return replace(scene, pictures=found)


def _read_group(
    record: Record, images: Mapping[str, ImageKind], masks: Mapping[str, MaskKind], data: DataTable
) -> tuple[dict[str, Picture], dict[str, Picture]]:
    """Read images of one grid and the masks on it; of several masks each is read beside the images."""
    paths = [path for kind in images.values() for path in kind.files(record)]
    channels = [kind.field.channels or data.channels for kind in images.values()]
    layout = Layout(data.dimensions, sum(channels), data.colour, data.geometry)
    whole: Picture | None = None
    raws: dict[str, Picture] = {}
    for name, kind in masks.items():
        layout = replace(layout, classes=kind.structures, mapped=kind.field.values is not None)
        whole, raw = read_files(paths, kind.mask(record), layout)
        if raw is not None:
            raws[name] = raw
    whole = whole or read_files(paths, None, layout)[0]
    if len(images) == 1:
        return dict.fromkeys(images, whole), raws
    arrays = np.split(whole.array, np.cumsum(channels)[:-1])
    return {name: replace(whole, array=array) for name, array in zip(images, arrays, strict=True)}, raws
