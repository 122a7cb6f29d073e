"""What a person sees of an answer: the image with what was predicted and what is true, and a card."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from PIL import Image

from client.data.kinds.drawing import Drawing
from client.data.look.cards import Card
from client.data.look.contact_sheet import marked
from client.data.look.planes import Plane, Sample, planes
from client.data.look.tiles import LONGEST, Tile, tiles, window
from client.predict.geometry import Placed
from client.predict.images import PlacedImage
from shared.tasks.answers import Answer, Cell

OVERLAY_SIDE = 512  # pixels of an overlay's longest side
_GAP = 4
_FACTS = 12  # on a card, of perhaps hundreds of columns


class Picture:
    """An image with outlines, or beside those that were made of it, drawn in several sizes."""

    def __init__(self, placed: Placed) -> None:
        found, true = Drawing(placed.mask, placed.sure.boxes), Drawing(placed.true_mask, placed.true_boxes)
        sample = Sample(placed.picture.array, (found,), (true,))
        place = placed.picture.spacing, placed.picture.affine
        self._planes: Sequence[Plane] = planes(sample, *place)
        self._ends = window(sample.image)
        self._made = [(name, made) for name, made in placed.images.items() if made.holds != "numbers"]
        self._place = place

    def tiles(self, side: int = LONGEST) -> list[Tile]:
        """Return the planes, their longest side as long as this."""
        if not self._made:
            return tiles(self._planes, self._ends, side)
        return [tile for name, made in self._made for tile in self._pair(name, made, side)]

    def _pair(self, name: str, made: PlacedImage, side: int) -> Iterator[Tile]:
        """Yield what was given and what was made of it, in one brightness where both have the same units."""
        before, ends = made.before, window(made.array)
        if before is not None:
            ends = window(before)
        views = self._planes if before is None else planes(Sample(before), *self._place)
        given = tiles(views, self._ends if before is None else ends, side)
        after = tiles(planes(Sample(made.array), *self._place), ends, side)
        for title, shown in (("given", given), (name, after)):
            yield from (replace(one, title=", ".join(filter(None, (title, one.title)))) for one in shown)

    def overlay(self) -> bytes:
        """Return the planes side by side as PNG."""
        return side_by_side(self.tiles(OVERLAY_SIDE))


def side_by_side(shown: Sequence[Tile]) -> bytes:
    """Return tiles side by side as PNG."""
    parts = [marked(tile) for tile in shown]
    width = sum(part.width + _GAP for part in parts) - _GAP
    whole = Image.new("RGB", (width, max(part.height for part in parts)))
    left = 0
    for part in parts:
        whole.paste(part, (left, 0))
        left += part.width + _GAP
    stream = io.BytesIO()
    whole.save(stream, "PNG")
    return stream.getvalue()


def card(title: str, cells: Mapping[str, Cell], answer: Answer, shown_of_it: list[Tile]) -> Card:
    """Return what the page shows of a sample, beside these pictures."""
    known = [(name, shown(value)) for name, value in cells.items()]
    facts = known[:_FACTS]
    if len(known) > _FACTS:
        facts.append(("more", f"{len(known) - _FACTS} columns in predictions.csv"))
    return Card(
        title=title,
        why=(),
        alarm="",
        prepared=shown_of_it,
        augmented=[],
        histogram=None,
        facts=facts,
        stage="" if answer.images else "predicted",
        curve=_places(answer),
    )


def _places(answer: Answer) -> list[tuple[float, float]]:
    if answer.curve is None:
        return []
    times, values = (part.tolist() for part in answer.curve)
    return [(time / times[-1], value) for time, value in zip(times, values, strict=True)]


def shown(value: Cell) -> str:
    """Return a value as a person reads it; a dash where a figure has no meaning."""
    if isinstance(value, float):
        return f"{value:.3g}" if math.isfinite(value) else "–"
    return str(value)
