"""Draw restoration.png beside this file from runs: `python -m docs.images.make_restoration RUN...`."""

import sys
from pathlib import Path

from PIL import Image

_MEDIAN = "rehearsal/median.png"  # the image of the test that came out neither best nor worst
_GAP = 12


def picture(runs: list[Path]) -> Image.Image:
    """Return what each run's model made of one image, as its report shows it."""
    rows = [Image.open(run / _MEDIAN).convert("RGB") for run in runs]
    size = max(row.width for row in rows), sum(row.height + _GAP for row in rows) - _GAP
    sheet = Image.new("RGB", size, "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + _GAP
    return sheet


if __name__ == "__main__":
    picture([Path(run) for run in sys.argv[1:]]).save(
        Path(__file__).with_name("restoration.png"), optimize=True
    )
