"""What is shown of a bag of tiles or a series of frames: a few of its images, and where a slide was cut."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.data.cache.preprocess import prepare
from client.data.formats.slides import open_slide
from client.data.images.file_hash import content_hash
from client.data.images.readers import size
from client.data.images.refusing import guarded
from client.data.kinds.tiles import TilesKind
from client.data.look.planes import Sample, planes
from client.data.look.tiles import COLOURS, LONGEST, Tile, tiles, window
from client.data.manifest.rows import Record

EXAMPLES = 6
_NO_MARKS = ("", "", "", "")
_SHADE = 110  # of 255: how much of its colour lies on a marked tile


def stack_pictures(record: Record, kind: TilesKind) -> tuple[list[Tile], NDArray[np.float32]]:
    """Return what is shown of a row, and all images that it has, as a network gets them (N, C, *S).

    Of a slide that is the slide with its tiles marked, then examples; of others examples evenly spread.

    Raises:
        DataError: A file can't be read, or does not fit the job.
    """
    values = prepare(record, {kind.name: kind}, kind.data).values[kind.name]
    shown = list(_slides(record, kind)) if kind.mpp is not None else []
    there = np.flatnonzero([not np.isnan(own).all() for own in values])  # a view may be lacking
    ends = window(values[there])
    for place in np.unique(np.linspace(0, len(there) - 1, min(EXAMPLES, len(there))).round().astype(int)):
        number = int(there[place])
        for one in tiles(planes(Sample(values[number]), None), ends):
            title = ", ".join(part for part in (kind.title(number, len(values)), one.title) if part)
            shown.append(Tile(title, one.picture, one.marks))
    return shown, values[there]


def stack_facts(values: NDArray[np.float32], kind: TilesKind) -> list[tuple[str, str]]:
    """Return names and values of what a person should know of a row."""
    spacing = "see data check" if kind.mpp is None else f"{kind.mpp:g} µm"
    return [
        ("size", f"{len(values)} of {size(values.shape[2:])}"),
        ("spacing", spacing),
        ("values", f"{values.min():.4g} to {values.max():.4g}"),
    ]


def _slides(record: Record, kind: TilesKind) -> Iterator[Tile]:
    for path in kind.files(record):
        yield guarded(path, partial(_slide, path, kind))


def _slide(path: Path, kind: TilesKind) -> Tile:
    with open_slide(path) as slide:
        found, taken, _ = kind.tiling(slide, content_hash(path))
        picture = Image.fromarray(found.thumbnail).convert("RGBA")
        marks = Image.new("RGBA", picture.size)
        draw = ImageDraw.Draw(marks)
        scale = np.divide(found.thumbnail.shape[:2], found.level.shape)
        for places, colour in ((found.places, COLOURS[1]), (taken, COLOURS[0])):
            red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
            for place in places:
                top, left = np.multiply(place, scale)
                bottom, right = np.multiply(np.add(place, found.side), scale)
                ends = (left, top, max(left, right - 1), max(top, bottom - 1))
                draw.rectangle(ends, fill=(red, green, blue, _SHADE), outline=(red, green, blue, 255))
        picture = Image.alpha_composite(picture, marks).convert("RGB")
        picture.thumbnail((3 * LONGEST, LONGEST))
        return Tile(f"{len(taken)} tiles of {len(found.places)} with tissue", picture, _NO_MARKS)
