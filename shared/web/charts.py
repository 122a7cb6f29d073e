"""Figures as SVG: declared in Vega-Lite, drawn by vl-convert, without a browser or a network.

Vega-Lite's tables are written as they are: Altair makes the same ones in twice the time of the drawing, as it
copies a chart whenever something is added to it.

Sites and classes have the colours of Okabe and Ito (2008), which the colour-blind tell apart, and marks or
dashes beside them. Where there are more than those, all are grey and the best and the worst are named.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import vl_convert

from shared.metrics.figures import Cell, Figure, Point
from shared.text.printable import printable

INK = "currentColor"
ACCENT = "#0072b2"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
_GREY = "#8a8f98"
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [10, 4], [1, 3])
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
_SIZE = re.compile(r'width="([\d.]+)" height="([\d.]+)" viewBox="[^"]*"')
_PATH = re.compile(r' d="[^"]*"')
_LONG = re.compile(r"(\.\d)\d+")  # no reader sees a hundredth of a pixel
_FONT = "system-ui, sans-serif"
_WIDTH, _HEIGHT, _SQUARE = 330, 220, 260
_LETTER = 7.5  # pixels, in the widest of the fonts that a reader may have
_ROW = 22  # of a matrix or of dots
_SERIES, _ALONG, _UP = "series", "along", "up"
_NAMES = {"type": "text", "fontSize": 12, "font": _FONT, "color": INK}
_NO_LINE = {"domain": False, "ticks": False}

Table = dict[str, Any]  # of Vega-Lite


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element, whose text has the colour of the page.

    Texts are escaped by the drawing; ids are the figure's own, so that many figures stand in one page.
    """
    figure = replace(figure, points=[_printable(point) for point in figure.points])
    draw = {"matrix": _matrix, "dots": _dots}.get(figure.kind, _lines)
    drawn = str(vl_convert.vegalite_to_svg(draw(figure) | {"config": _style()}, vl_version="6.4"))
    drawn = re.sub(r'id="([^"]*)"', rf'id="{figure.name}-\1"', drawn)
    drawn = re.sub(r"url\(#([^)]*)\)", rf"url(#{figure.name}-\1)", drawn)
    drawn = _PATH.sub(lambda path: _LONG.sub(r"\1", path[0]), drawn)
    drawn = _SIZE.sub(lambda found: _wider(found, figure), drawn, count=1)
    return drawn.replace("<svg ", '<svg role="img" aria-hidden="true" focusable="false" ', 1)


def _printable(point: Point) -> Point:
    one, along, up = (printable(cell) if isinstance(cell, str) else cell for cell in point)
    return one, along, up


def _wider(size: re.Match[str], figure: Figure) -> str:
    """Return the size of a drawing with room at its right: names are wider in some fonts than in Vega's."""
    width, height = (float(number) for number in size.groups())
    width += max((len(str(point[0])) for point in figure.points), default=0) * 2
    return f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'


def _style() -> Table:
    """Return Vega-Lite's table of what all figures have in common."""
    axis = {
        "labelColor": INK,
        "titleColor": INK,
        "domainColor": _GREY,
        "tickColor": _GREY,
        "gridColor": _GREY,
        "gridOpacity": 0.22,
        "labelFont": _FONT,
        "titleFont": _FONT,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 240,
        "titlePadding": 8,
    }
    legend = {
        key: axis[key] for key in ("labelColor", "titleColor", "labelFont", "titleFont", "labelFontSize")
    }
    return {
        "background": "transparent",
        "font": _FONT,
        "aria": False,
        "view": {"stroke": None},
        "axis": axis,
        "legend": legend | {"title": None, "orient": "top", "symbolStrokeColor": INK, "labelLimit": 240},
    }


def _quantity(field: str, **more: Any) -> Table:
    return {"field": field, "type": "quantitative", **more}


def _category(field: str, **more: Any) -> Table:
    return {"field": field, "type": "nominal", **more}


def _values(points: Sequence[Sequence[Cell]]) -> Table:
    rows = [
        {_SERIES: str(one), _ALONG: along, _UP: up, "order": number}
        for number, (one, along, up) in enumerate(points)
    ]
    return {"values": rows}


def _lines(figure: Figure) -> Table:
    """Return lines, each with its name; of many the first, the best and the worst, and the others grey."""
    names = list(dict.fromkeys(str(point[0]) for point in figure.points))
    named = names if len(names) <= len(COLOURS) else _best_and_worst(figure, names)
    square = figure.unit
    scale = {"domain": [0, 1]} if square else {"zero": False, "nice": True}
    axis = {"tickCount": 5}
    x = _quantity(_ALONG, title=figure.columns[1], scale=scale, axis=axis | {"grid": square})
    y = _quantity(_UP, title=figure.columns[2], scale=scale, axis=axis)
    mark: Table = (
        {"type": "line", "interpolate": "step-after"} if figure.kind == "steps" else {"type": "line"}
    )
    behind = [point for point in figure.points if str(point[0]) not in named]
    layers: list[Table] = []
    if figure.diagonal:
        ends = {"values": [{_ALONG: 0, _UP: 0}, {_ALONG: 1, _UP: 1}]}
        dashed = {"type": "line", "color": _GREY, "strokeDash": [3, 3], "strokeWidth": 1}
        layers.append({"data": ends, "mark": dashed, "encoding": {"x": x, "y": y}})
    order = _quantity("order")
    if behind:
        grey = mark | {"color": _GREY, "opacity": 0.6, "strokeWidth": 1}
        encoding = {"x": x, "y": y, "detail": _category(_SERIES), "order": order}
        layers.append({"data": _values(behind), "mark": grey, "encoding": encoding})
    front = [point for point in figure.points if str(point[0]) in named]
    look = {
        "x": x,
        "y": y,
        "color": _scaled(named, COLOURS),
        "strokeDash": _scaled(named, _DASHES),
        "shape": _scaled(named, _SHAPES),
    }
    data, place = _values(front), {"x": x, "y": y, "color": look["color"]}
    widths = [3 if name == "federation" else 1.75 for name in named]
    encoding = place | {"strokeWidth": _scaled(named, widths), "order": order}
    layers.append({"data": data, "mark": mark, "encoding": encoding | {"strokeDash": look["strokeDash"]}})
    if len(front) <= 2 * len(named) + 12:
        point = {"type": "point", "filled": True, "size": 36, "opacity": 1}
        layers.append({"data": data, "mark": point, "encoding": place | {"shape": look["shape"]}})
    if len(named) > 1:
        layers.append(_names(figure, front, named, look))
    side = {"width": _SQUARE, "height": _SQUARE} if square else {"width": _WIDTH, "height": _HEIGHT}
    return {"layer": layers, **side}


def _names(figure: Figure, front: Sequence[Any], named: Sequence[str], look: Mapping[str, Table]) -> Table:
    """Return the names of lines: at their ends, moved apart; of squares, where all end at one, beside it.

    Letters have the ink of the page, since few colours can be read; a piece of the line stands before them.
    """
    if figure.unit:
        return _names_beside(named, look)
    last = {str(point[0]): point for point in front}
    ups = [float(point[2]) for point in figure.points if point[2] is not None]
    gap = 17 / _HEIGHT * ((max(ups) - min(ups)) or 1.0)  # the axis is longer than the range
    ends = sorted(named, key=lambda name: float(last[name][2] or 0))
    heights: list[float] = []
    for name in ends:
        wanted = float(last[name][2] or 0)
        heights.append(max(wanted, heights[-1] + gap) if heights else wanted)
    rows = [
        {_SERIES: name, _ALONG: last[name][1], _UP: height}
        for name, height in zip(ends, heights, strict=True)
    ]
    place = {"x": look["x"], "y": look["y"]}
    point = {"type": "point", "filled": True, "size": 40, "opacity": 1, "xOffset": 9}
    dots = {"mark": point, "encoding": place | {"color": look["color"], "shape": look["shape"]}}
    text = {"mark": _NAMES | {"align": "left", "dx": 17}, "encoding": place | {"text": _category(_SERIES)}}
    return {"data": {"values": rows}, "layer": [dots, text]}


def _names_beside(named: Sequence[str], look: Mapping[str, Table]) -> Table:
    rows = [{_SERIES: name, _UP: 0.97 - 0.075 * place} for place, name in enumerate(named)]
    y = _quantity(_UP, scale={"domain": [0, 1]})
    ends = {"x": {"value": _SQUARE + 12}, "x2": {"value": _SQUARE + 32}}
    lines = {"color": look["color"], "strokeDash": look["strokeDash"]}
    pieces = {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": {"y": y, **ends, **lines}}
    mark = _NAMES | {"align": "left", "baseline": "middle"}
    text = {"mark": mark, "encoding": {"y": y, "x": {"value": _SQUARE + 38}, "text": _category(_SERIES)}}
    return {"data": {"values": rows}, "layer": [pieces, text]}


def _best_and_worst(figure: Figure, names: Sequence[str]) -> list[str]:
    """Return the first series, and of the others the one that ends highest and the one that ends lowest."""
    last = {str(point[0]): float(point[2] or 0) for point in figure.points}
    ranked = sorted(names[1:], key=lambda name: last[name])
    return [names[0], ranked[-1], ranked[0]]


def _matrix(figure: Figure) -> Table:
    """Return a matrix: of counts the larger of a row is the darker, of figures the larger of all."""
    rows = list(dict.fromkeys(str(point[0]) for point in figure.points))
    columns = list(dict.fromkeys(str(point[1]) for point in figure.points))
    numbers = [float(point[2] or 0) for point in figure.points]
    are_counts = all(isinstance(point[2], int) for point in figure.points)
    low, largest = min(numbers), dict.fromkeys(rows, max(numbers))
    if are_counts:
        low = 0.0
        largest = {row: sum(float(p[2] or 0) for p in figure.points if str(p[0]) == row) for row in rows}
    values = [
        {
            _SERIES: str(row),
            _ALONG: str(column),
            "share": (float(up or 0) - low) / ((largest[str(row)] - low) or 1.0),
            "text": f"{up:.3f}" if isinstance(up, float) else str(up),
        }
        for row, column, up in figure.points
    ]
    longest = max(map(len, columns)) * _LETTER
    turned = longest > _cell(columns)
    across = _NO_LINE | {
        "orient": "top",
        "labelAngle": -90 if turned else 0,
        "labelAlign": "left" if turned else "center",
        "labelBaseline": "middle" if turned else "bottom",
        "minExtent": longest if turned else 20,
    }
    x = _category(_ALONG, title=figure.columns[1], sort=columns, axis=across)
    y = _category(_SERIES, title=figure.columns[0], sort=rows, axis=_names_axis(rows))
    share = _quantity("share", scale={"domain": [0, 1], "range": [0, 0.55]}, legend=None)
    tile = {"type": "rect", "stroke": _GREY, "strokeOpacity": 0.3}
    filled = {"x": x, "y": y, "color": {"value": ACCENT}, "opacity": share}
    text = {"mark": _NAMES, "encoding": {"x": x, "y": y, "text": _category("text")}}
    side = {"width": len(columns) * _cell(columns), "height": max(len(rows) * 30, 60)}
    return {"data": {"values": values}, "layer": [{"mark": tile, "encoding": filled}, text], **side}


def _cell(columns: Sequence[str]) -> int:
    return max(44, min(110, _WIDTH // len(columns)))


def _dots(figure: Figure) -> Table:
    """Return one row of dots for each group, with a bar at its median."""
    groups = list(dict.fromkeys(str(point[0]) for point in figure.points))
    scale = {"domain": [0, 1]} if figure.unit else {"zero": False}
    x = _quantity(_UP, title=figure.columns[2], scale=scale, axis={"tickCount": 5})
    y = _category(_SERIES, title=None, sort=groups, axis=_NO_LINE | {"labelPadding": 8})
    circle = {"type": "circle", "color": ACCENT, "size": 40, "opacity": 0.55}
    tick = {"type": "tick", "color": INK, "thickness": 2, "size": 18}
    median = _quantity(_UP, aggregate="median", scale=scale)
    return {
        "data": _values(figure.points),
        "layer": [
            {"mark": circle, "encoding": {"x": x, "y": y}},
            {"mark": tick, "encoding": {"x": median, "y": y}},
        ],
        "width": _WIDTH,
        "height": max(len(groups) * _ROW, 60),
    }


def _names_axis(names: Sequence[str]) -> Table:
    return _NO_LINE | {"labelPadding": 8, "minExtent": max(map(len, names)) * _LETTER + 12}


def _scaled(names: Sequence[str], values: Sequence[Any]) -> Table:
    """Return the encoding of series by a few values; where there are more series, they come again."""
    cycled = [values[number % len(values)] for number in range(len(names))]
    return _category(_SERIES, scale={"domain": list(names), "range": cycled}, legend=None)
