"""The contact sheet: all images of a dataset in one PNG."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from client.data.look.cards import Card
from client.data.look.histogram import Histogram
from client.data.look.page import Sheet
from client.data.look.tiles import COLOURS, LONGEST, Tile

_WIDTH = 1600
_GAP, _LINE, _PLOT = 12, 20, 28
_GROUND, _TEXT, _QUIET = "#111418", "#e8eaed", "#a3acb6"
_SMALL, _LARGE = 13, 18  # sizes of text


def contact_sheet(sheet: Sheet) -> Image.Image:
    """Return the sheet: a block for each site, its images in rows, the augmented beside the prepared."""
    blocks = [_site(site, cards) for site, cards in sheet.sites.items() if cards]
    whole = Image.new("RGB", (_WIDTH, sum(block.height for block in blocks) + 3 * _GAP + _LINE), _GROUND)
    draw = ImageDraw.Draw(whole)
    draw.text((_GAP, _GAP), _short(sheet.title, _LARGE, _WIDTH // 2), _TEXT, _font(_LARGE))
    left = _WIDTH // 2 + 2 * _GAP
    for number, name in enumerate(sheet.structures[: len(COLOURS)]):
        draw.text((left, _GAP), name, COLOURS[number], _font(_SMALL))
        left += round(_font(_SMALL).getlength(name)) + _GAP
    top = 2 * _GAP + _LINE
    for block in blocks:
        whole.paste(block, (0, top))
        top += block.height
    return whole


def _site(name: str, cards: Sequence[Card]) -> Image.Image:
    cells = [_cell(card) for card in cards]
    rows: list[list[Image.Image]] = [[]]
    for cell in cells:
        if rows[-1] and sum(one.width + _GAP for one in rows[-1]) + cell.width + 2 * _GAP > _WIDTH:
            rows.append([])
        rows[-1].append(cell)
    heights = [max(cell.height for cell in row) + _GAP for row in rows]
    block = Image.new("RGB", (_WIDTH, sum(heights) + _LINE + 2 * _GAP), _GROUND)
    ImageDraw.Draw(block).text((_GAP, 0), _short(name, _LARGE, _WIDTH - 2 * _GAP), _TEXT, _font(_LARGE))
    top = _LINE + _GAP
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for cell in row:
            block.paste(cell, (left, top))
            left += cell.width + _GAP
        top += height
    return block


def _cell(card: Card) -> Image.Image:
    """Draw one image: its tiles side by side, its histogram, and two lines of text."""
    shown = [*card.prepared, *card.augmented]
    width = sum(tile.picture.width for tile in shown) + 4 * (len(shown) - 1)
    cell = Image.new("RGB", (max(width, LONGEST), LONGEST + _PLOT + 3 * _LINE), _GROUND)
    left = 0
    for tile in shown:
        cell.paste(marked(tile), (left, LONGEST - tile.picture.height))
        left += tile.picture.width + 4
    draw = ImageDraw.Draw(cell)
    if card.histogram is not None:
        _plot(draw, card.histogram, (0, LONGEST + 4, cell.width - 1, LONGEST + _PLOT))
    facts = dict(card.facts)
    why = ", ".join((*card.why, *([card.alarm] if card.alarm else [])))
    label = facts.get("label") or facts.get("target", "")
    for line, (text, colour) in enumerate(
        (
            (f"{card.title}: {label}", _TEXT),
            (why, COLOURS[0]),
            (f"{facts['size']}, spacing {facts['spacing']}", _QUIET),
        )
    ):
        top = LONGEST + _PLOT + 2 + line * _LINE
        draw.text((0, top), _short(text, _SMALL, cell.width), colour, _font(_SMALL))
    return cell


def marked(tile: Tile) -> Image.Image:
    """Return a tile's picture with the patient's sides written on it."""
    picture = tile.picture.copy()
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    places = (
        (width / 2, 1, "ma"),
        (width - 2, height / 2, "rm"),
        (width / 2, height - 1, "md"),
        (2, height / 2, "lm"),
    )
    for (x, y, anchor), mark in zip(places, tile.marks, strict=True):
        draw.text((x, y), mark, "#ffffff", _font(_SMALL), anchor, stroke_width=1, stroke_fill="#000000")
    return picture


def _plot(draw: ImageDraw.ImageDraw, values: Histogram, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    for number, heights in enumerate(values.heights):
        step = (right - left) / (len(heights) - 1)
        points = [(left + x * step, bottom - height * (bottom - top)) for x, height in enumerate(heights)]
        colour = _QUIET if len(values.heights) == 1 else COLOURS[number % len(COLOURS)]
        draw.line(points, colour)


def _short(text: str, size: int, width: int) -> str:
    """Cut a text to a width in pixels."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
