"""What a model looked at: the attention of each tile, frame or row, in a table, and on the slide."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.data.cache.preprocess import prepare
from client.data.formats.slides import open_slide
from client.data.images.file_hash import content_hash
from client.data.images.refusing import guarded
from client.data.kinds import Kind
from client.data.kinds.base import Instance
from client.data.kinds.tiles import TilesKind
from client.data.look.planes import Sample, planes
from client.data.look.tiles import Tile, tiles, window
from client.data.manifest.rows import Record
from shared.tasks.answers import Cell

PLACE = ("file", "x", "y", "width", "height")
_MOST = 6  # instances on a card
_MAP = 1024  # pixels of the longer side of a heat map
_NO_MARKS = ("", "", "", "")
_COLOUR = np.array([213, 94, 0])  # Okabe and Ito's vermilion: on pink and violet tissue
_SHADE = 0.7  # of that colour, where most attention is


@dataclass(frozen=True)
class Attended:
    """The attention paid to a sample.

    Attributes:
        rows: One for each instance.
        tiles: What is shown of it: the slides, then the instances with the most attention, the most first.
        maps: The slides with their attention, as one PNG; None where there are none.
    """

    rows: list[dict[str, Cell]]
    tiles: list[Tile]
    maps: bytes | None


def attended(record: Record, kinds: Mapping[str, Kind], attention: NDArray[np.float32]) -> Attended | None:
    """Return what was looked at of a row; None where none of its fields has so many instances.

    Raises:
        DataError: A file can't be read any more.
    """
    for kind in kinds.values():
        instances = kind.instances(record)
        if len(instances) == len(attention):
            maps = _maps(record, kind, attention)
            shown = [Tile("attention", one, _NO_MARKS) for one in maps] + _pictures(record, kind, attention)
            return Attended(_rows(record, instances, attention), shown, _png(maps) if maps else None)
    return None


def _rows(
    record: Record, instances: Sequence[Instance], attention: NDArray[np.float32]
) -> list[dict[str, Cell]]:
    found = []
    for number, (one, share) in enumerate(zip(instances, attention.tolist(), strict=True), 1):
        cells: dict[str, Cell] = {"row": record.row, "patient": record.patient, "instance": number}
        place = (one.file, one.left, one.top, one.width, one.height)
        cells |= {name: cell for name, cell in zip(PLACE, place, strict=True) if cell not in (None, "")}
        found.append(cells | {"attention": share})
    return found


def _pictures(record: Record, kind: Kind, attention: NDArray[np.float32]) -> list[Tile]:
    """Return the instances with the most attention as a network gets them; numbers have no picture."""
    if not isinstance(kind, TilesKind):
        return []
    values = prepare(record, {kind.name: kind}, kind.data).values[kind.name]
    there = np.flatnonzero([not np.isnan(own).all() for own in values])  # a view may be lacking
    ends, found = window(values[there]), []
    for number in there[np.argsort(-attention[there], kind="stable")[:_MOST]]:
        first = tiles(planes(Sample(values[number]), None), ends)[0]
        found.append(Tile(f"{number + 1}: {attention[number]:.2f}", first.picture, first.marks))
    return found


def _maps(record: Record, kind: Kind, attention: NDArray[np.float32]) -> list[Image.Image]:
    """Return each slide made small, its tiles the more coloured the more attention they got."""
    if not isinstance(kind, TilesKind) or kind.mpp is None:
        return []
    shares, found, first = attention / attention.max(), [], 0
    for path in kind.files(record):
        count, picture = guarded(path, lambda: _map(path, kind, shares[first:]))  # noqa: B023 (called at once)
        found.append(picture)
        first += count
    return found


def _map(path: Path, kind: TilesKind, shares: NDArray[np.float32]) -> tuple[int, Image.Image]:
    with open_slide(path) as slide:
        tiling, places, _ = kind.tiling(slide, content_hash(path))
        picture = slide.thumbnail(_MAP).astype(np.float32)
    scale = np.divide(picture.shape[:2], tiling.level.shape)
    for place, share in zip(places, shares, strict=False):
        top, left = np.multiply(place, scale).round().astype(int)
        bottom, right = np.multiply(np.add(place, tiling.side), scale).round().astype(int)
        part = picture[top:bottom, left:right]
        part += _SHADE * share * (_COLOUR - part)
    image = Image.fromarray(picture.round().astype(np.uint8))
    image.thumbnail((_MAP, _MAP))
    return len(places), image


def _png(maps: list[Image.Image]) -> bytes:
    whole = Image.new("RGB", (sum(one.width for one in maps), max(one.height for one in maps)), "white")
    left = 0
    for one in maps:
        whole.paste(one, (left, 0))
        left += one.width
    stream = io.BytesIO()
    whole.save(stream, "PNG")
    return stream.getvalue()
