"""Draw figures of a run, and its best, median and worst image below them, into a file beside this one.

`python -m docs.images.make_examples RUN regression.png agreement-1`
"""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import vl_convert
from PIL import Image, ImageDraw, ImageFont

from server.report.content import Picture, Report
from server.report.write import report_on
from shared.web.charts import svg

_GAP, _TEXT = 24, 15
_INK = "#1f2328"


def picture(run: Path, names: Sequence[str]) -> Image.Image:
    """Return figures of a run's report, by their names, above what it shows of single images."""
    report = report_on([run])
    rows = [[_figure(report, name) for name in names], [_captioned(one) for one in _pictures(report)]]
    rows = [row for row in rows if row]
    widths = [sum(part.width + _GAP for part in row) + _GAP for row in rows]
    heights = [max(part.height for part in row) + _GAP for row in rows]
    sheet = Image.new("RGB", (max(widths), sum(heights) + _GAP), "white")
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for part in row:
            sheet.paste(part, (left, top))
            left += part.width + _GAP
        top += height
    return sheet.quantize(64)


def _figure(report: Report, name: str) -> Image.Image:
    figures = {figure.name: figure for section in report.sections for figure in section.figures}
    drawn = svg(figures[name]).replace("currentColor", _INK)
    image = Image.open(io.BytesIO(vl_convert.svg_to_png(drawn, scale=1.5))).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _pictures(report: Report) -> list[Picture]:
    return [one for section in report.sections for one in section.pictures]


def _captioned(one: Picture) -> Image.Image:
    image = Image.open(io.BytesIO(one.png)).convert("RGB")
    font = ImageFont.load_default(_TEXT)
    width = max(image.width, int(font.getlength(one.caption)) + 1)
    whole = Image.new("RGB", (width, image.height + 2 * _TEXT), "white")
    whole.paste(image, (0, 0))
    ImageDraw.Draw(whole).text((0, image.height + _TEXT // 2), one.caption, fill=_INK, font=font)
    return whole


if __name__ == "__main__":
    run_, file_, *names_ = sys.argv[1:]
    picture(Path(run_), names_).save(Path(__file__).with_name(file_), optimize=True)
