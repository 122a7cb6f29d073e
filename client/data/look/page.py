"""The page: one file that needs no network, no script and nothing beside it."""

import base64
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from client.data.look.cards import Card
from client.data.look.histogram import BINS, Histogram
from client.data.look.style import STYLE
from client.data.look.tiles import COLOURS, Tile

_PLACES = ("top", "right", "bottom", "left")
_SIDES = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "head", "I": "feet"}
_HEIGHT = 20


@dataclass(frozen=True)
class Sheet:
    """All that is shown of a dataset.

    Attributes:
        title: The dataset's name.
        lines: What it is and how it is shown.
        errors: Of the check; whoever reads the page must see them first.
        warnings: Of the check.
        structures: Names, in the order of their colours.
        sites: Site -> its images.
    """

    title: str
    lines: list[str]
    errors: list[str]
    warnings: list[str]
    structures: Sequence[str]
    sites: dict[str, list[Card]]


def page(sheet: Sheet) -> str:
    """Return the page as HTML; every text of the dataset is escaped."""
    return "\n".join(_lines(sheet)) + "\n"


def _lines(sheet: Sheet) -> Iterator[str]:
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{escape(sheet.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>"
    yield f"<h1>{escape(sheet.title)}</h1>"
    yield from (f"<p>{escape(line)}</p>" for line in sheet.lines)
    yield from _findings(sheet)
    yield from _legend(sheet.structures)
    yield "</header>\n<main>"
    for site, cards in sheet.sites.items():
        wide = " wide" if any(len(card.prepared) > 2 for card in cards) else ""
        yield f'<section>\n<h2>{escape(site)}</h2>\n<div class="cards{wide}">'
        for card in cards:
            yield from _card(card)
        yield "</div>\n</section>"
    yield "</main>\n</body>\n</html>"


def _findings(sheet: Sheet) -> Iterator[str]:
    if not sheet.errors and not sheet.warnings:
        return
    yield '<ul class="findings">'
    yield from (f'<li class="error"><strong>error</strong> {escape(text)}</li>' for text in sheet.errors)
    yield from (f"<li><strong>warning</strong> {escape(text)}</li>" for text in sheet.warnings)
    yield "</ul>"


def _legend(structures: Sequence[str]) -> Iterator[str]:
    if structures:
        yield '<ul class="legend" aria-label="Structures">'
        for number, name in enumerate(structures):
            square = f'<rect class="c{1 + number % len(COLOURS)}" width="16" height="16"/>'
            yield f'<li><svg viewBox="0 0 16 16" aria-hidden="true">{square}</svg>{escape(name)}</li>'
        yield "</ul>"


def _card(card: Card) -> Iterator[str]:
    yield f'<article>\n<h3>{escape(card.title)}</h3>\n<div class="why">'
    yield from (f"<span>{escape(name)}</span>" for name in card.why)
    if card.alarm:
        yield f'<span class="alarm">{escape(card.alarm)}</span>'
    yield '</div>\n<div class="pair">'
    yield from _stage(card.stage, card.prepared, card.title)
    yield from _stage("augmented", card.augmented, card.title)
    yield "</div>"
    if card.histogram is not None:
        yield from _plot(card.histogram)
    if card.curve:
        yield from _curve(card.curve)
    yield "<dl>"
    yield from (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in card.facts)
    yield "</dl>\n</article>"


def _stage(name: str, tiles: Sequence[Tile], of: str) -> Iterator[str]:
    if not tiles:
        return
    yield '<div class="stage">'
    for tile in tiles:
        caption = ", ".join(part for part in (name, tile.title) if part)
        yield '<figure><div class="tile">'
        yield (
            f'<img src="{_data_uri(tile)}" width="{tile.picture.width}" height="{tile.picture.height}" '
            f'alt="{escape(f"{of}, {caption}")}">'
        )
        for place, mark in zip(_PLACES, tile.marks, strict=True):
            if mark:
                yield f'<span class="{place}" title="the patient\'s {_SIDES[mark]}">{mark}</span>'
        yield f"</div><figcaption>{escape(caption)}</figcaption></figure>"
    yield "</div>"


def _data_uri(tile: Tile) -> str:
    stream = io.BytesIO()
    tile.picture.save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _plot(values: Histogram) -> Iterator[str]:
    """Draw a histogram: one line a channel."""
    yield (
        f'<svg class="plot" viewBox="0 0 {BINS - 1} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="Histogram from {values.low:.4g} to {values.high:.4g}">'
    )
    for number, heights in enumerate(values.heights):
        points = " ".join(f"{x},{_HEIGHT * (1 - height):.2f}" for x, height in enumerate(heights))
        colour = 0 if len(values.heights) == 1 else 1 + number % len(COLOURS)
        yield f'<polyline class="c{colour}" points="{points}"/>'
    ends = f"<span>{values.low:.4g}</span><span>{values.high:.4g}</span>"
    yield f'</svg>\n<small class="ends quiet">{ends}</small>'


def _curve(places: Sequence[tuple[float, float]]) -> Iterator[str]:
    points = " ".join(f"{100 * x:.2f},{_HEIGHT * (1 - y):.2f}" for x, y in places)
    yield f'<svg class="plot" viewBox="0 0 100 {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
    yield f'<polyline class="c0" points="{points}"/></svg>'
