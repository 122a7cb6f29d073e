"""Figures as SVG: declared with Altair, drawn by vl-convert, without a browser or a network.

Sites and classes have the colours of Okabe and Ito (2008), which the colour-blind tell apart, and marks or
dashes beside them. Where there are more than those, all are grey and the best and the worst are named.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import altair as alt
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


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element, whose text has the colour of the page.

    Texts are escaped by the drawing; ids are the figure's own, so that many figures stand in one page.
    """
    figure = replace(figure, points=[_printable(point) for point in figure.points])
    draw = {"matrix": _matrix, "dots": _dots}.get(figure.kind, _lines)
    chart = draw(figure).to_dict(validate=False)
    drawn = str(vl_convert.vegalite_to_svg(chart | {"config": _style()}, vl_version="6.4"))
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


def _style() -> dict[str, Any]:
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


def _values(figure: Figure, points: Sequence[Sequence[Cell]]) -> alt.Data:
    rows = [
        {_SERIES: str(one), _ALONG: along, _UP: up, "order": number}
        for number, (one, along, up) in enumerate(points)
    ]
    return alt.Data(values=rows)


def _lines(figure: Figure) -> Any:
    """Return lines, each with its name; of many the first, the best and the worst, and the others grey."""
    names = list(dict.fromkeys(str(point[0]) for point in figure.points))
    named = names if len(names) <= len(COLOURS) else _best_and_worst(figure, names)
    square = figure.unit
    scale = alt.Scale(domain=[0, 1]) if square else alt.Scale(zero=False, nice=True)
    x = alt.X(f"{_ALONG}:Q", title=figure.columns[1], scale=scale, axis=alt.Axis(tickCount=5, grid=square))
    y = alt.Y(f"{_UP}:Q", title=figure.columns[2], scale=scale, axis=alt.Axis(tickCount=5))
    step: dict[str, Any] = {"interpolate": "step-after"} if figure.kind == "steps" else {}
    behind = [point for point in figure.points if str(point[0]) not in named]
    layers: list[Any] = []
    if figure.diagonal:
        ends = alt.Data(values=[{_ALONG: 0, _UP: 0}, {_ALONG: 1, _UP: 1}])
        layers.append(
            alt.Chart(ends).mark_line(color=_GREY, strokeDash=[3, 3], strokeWidth=1).encode(x=x, y=y)
        )
    if behind:
        base = alt.Chart(_values(figure, behind))
        line = base.mark_line(color=_GREY, opacity=0.6, strokeWidth=1, **step)
        layers.append(line.encode(x=x, y=y, detail=f"{_SERIES}:N", order="order:Q"))
    front = [point for point in figure.points if str(point[0]) in named]
    look = {
        "x": x,
        "y": y,
        "color": _scaled(alt.Color, named, COLOURS),
        "strokeDash": _scaled(alt.StrokeDash, named, _DASHES),
        "shape": _scaled(alt.Shape, named, _SHAPES),
    }
    widths = [3 if name == "federation" else 1.75 for name in named]
    chart = alt.Chart(_values(figure, front)).encode(x=x, y=y, color=look["color"])
    line = chart.mark_line(**step).encode(strokeWidth=_scaled(alt.StrokeWidth, named, widths))
    layers.append(line.encode(order="order:Q", strokeDash=look["strokeDash"]))
    if len(front) <= 2 * len(named) + 12:
        layers.append(chart.mark_point(filled=True, size=36, opacity=1).encode(shape=look["shape"]))
    if len(named) > 1:
        layers.append(_names(figure, front, named, look))
    side = {"width": _SQUARE, "height": _SQUARE} if square else {"width": _WIDTH, "height": _HEIGHT}
    return alt.layer(*layers).properties(**side)


def _names(figure: Figure, front: Sequence[Any], named: Sequence[str], look: Mapping[str, Any]) -> Any:
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
    base = alt.Chart(alt.Data(values=rows)).encode(x=look["x"], y=look["y"])
    dots = base.mark_point(filled=True, size=40, opacity=1, xOffset=9).encode(
        color=look["color"], shape=look["shape"]
    )
    text = base.mark_text(align="left", dx=17, fontSize=12, font=_FONT, color=INK).encode(text=f"{_SERIES}:N")
    return dots + text


def _names_beside(named: Sequence[str], look: Mapping[str, Any]) -> Any:
    rows = [{_SERIES: name, _UP: 0.97 - 0.075 * place} for place, name in enumerate(named)]
    base = alt.Chart(alt.Data(values=rows)).encode(y=alt.Y(f"{_UP}:Q", scale=alt.Scale(domain=[0, 1])))
    pieces = base.mark_rule(strokeWidth=2).encode(
        x=alt.value(_SQUARE + 12),
        x2=alt.value(_SQUARE + 32),
        color=look["color"],
        strokeDash=look["strokeDash"],
    )
    text = base.mark_text(align="left", baseline="middle", fontSize=12, font=_FONT, color=INK)
    return pieces + text.encode(x=alt.value(_SQUARE + 38), text=f"{_SERIES}:N")


def _best_and_worst(figure: Figure, names: Sequence[str]) -> list[str]:
    """Return the first series, and of the others the one that ends highest and the one that ends lowest."""
    last = {str(point[0]): float(point[2] or 0) for point in figure.points}
    ranked = sorted(names[1:], key=lambda name: last[name])
    return [names[0], ranked[-1], ranked[0]]


def _matrix(figure: Figure) -> Any:
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
    across = alt.Axis(
        orient="top",
        labelAngle=-90 if turned else 0,
        labelAlign="left" if turned else "center",
        labelBaseline="middle" if turned else "bottom",
        minExtent=longest if turned else 20,
        domain=False,
        ticks=False,
    )
    x = alt.X(f"{_ALONG}:N", title=figure.columns[1], sort=columns, axis=across)
    y = alt.Y(f"{_SERIES}:N", title=figure.columns[0], sort=rows, axis=_names_axis(rows))
    base = alt.Chart(alt.Data(values=values)).encode(x=x, y=y)
    tiles = base.mark_rect(stroke=_GREY, strokeOpacity=0.3).encode(
        color=alt.value(ACCENT),
        opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0, 0.55]), legend=None),
    )
    text = base.mark_text(fontSize=12, font=_FONT, color=INK).encode(text="text:N")
    side = {"width": len(columns) * _cell(columns), "height": max(len(rows) * 30, 60)}
    return (tiles + text).properties(**side)


def _cell(columns: Sequence[str]) -> int:
    return max(44, min(110, _WIDTH // len(columns)))


def _dots(figure: Figure) -> Any:
    """Return one row of dots for each group, with a bar at its median."""
    groups = list(dict.fromkeys(str(point[0]) for point in figure.points))
    scale = alt.Scale(domain=[0, 1]) if figure.unit else alt.Scale(zero=False)
    x = alt.X(f"{_UP}:Q", title=figure.columns[2], scale=scale, axis=alt.Axis(tickCount=5))
    y = alt.Y(
        f"{_SERIES}:N", title=None, sort=groups, axis=alt.Axis(domain=False, ticks=False, labelPadding=8)
    )
    base = alt.Chart(_values(figure, figure.points)).encode(x=x, y=y)
    dots = base.mark_circle(color=ACCENT, size=40, opacity=0.55)
    medians = base.mark_tick(color=INK, thickness=2, size=18).encode(x=alt.X(f"median({_UP}):Q", scale=scale))
    return (dots + medians).properties(width=_WIDTH, height=max(len(groups) * _ROW, 60))


def _names_axis(names: Sequence[str]) -> Any:
    return alt.Axis(domain=False, ticks=False, labelPadding=8, minExtent=max(map(len, names)) * _LETTER + 12)


def _scaled(channel: Any, names: Sequence[str], values: Sequence[Any]) -> Any:
    """Return the encoding of series by a few values; where there are more series, they come again."""
    cycled = [values[number % len(values)] for number in range(len(names))]
    return channel(f"{_SERIES}:N", scale=alt.Scale(domain=list(names), range=cycled), legend=None)
