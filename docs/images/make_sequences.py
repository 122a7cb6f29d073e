"""Draw sequences.png beside this file: `python -m docs.images.make_sequences`; it runs a shipped job."""

import tempfile
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageDraw

from docs.images.make_bags import answered, table

WIDTH, HEIGHT, LEFT = 760, 96, 130
SIGNAL, ATTENTION, INK = (0, 0, 0), (230, 159, 0), (90, 90, 90)


def picture(folder: Path) -> Image.Image:
    """Return the first lead of a test patient of each rhythm; the orange behind it is the attention."""
    manifest, said = answered("phantom-rhythm", folder)
    signals, attention = defaultdict(list), defaultdict(list)
    for row in table(manifest.parent / "vectors.csv"):
        signals[row["patient"]].append(float(row["lead 1"]))
    for row in table(said / "attention.csv"):
        attention[row["patient"]].append(float(row["attention"]))
    testing = {row["patient"] for row in table(manifest) if row["split"] == "test"}
    shown = {
        row["true"]: row for row in reversed(table(said / "predictions.csv")) if row["patient"] in testing
    }
    sheet = Image.new("RGB", (WIDTH, HEIGHT * len(shown)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(shown.values()):
        top, own, most = number * HEIGHT, signals[row["patient"]], max(attention[row["patient"]])
        step = (WIDTH - LEFT) / len(own)
        draw.text((4, top + 30), f"true: {row['true']}\nthe model: {row['predicted']}", fill=INK)
        for place, share in enumerate(attention[row["patient"]]):
            left, height = LEFT + place * step, (HEIGHT - 8) * share / most
            draw.rectangle((left, top + HEIGHT - 4 - height, left + step, top + HEIGHT - 4), fill=ATTENTION)
        low, high = min(own), max(own)
        line = [
            (LEFT + (place + 0.5) * step, top + HEIGHT - 8 - (HEIGHT - 16) * (value - low) / (high - low))
            for place, value in enumerate(own)
        ]
        draw.line(line, fill=SIGNAL, width=2)
    return sheet.quantize(32)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        picture(Path(place)).save(Path(__file__).with_name("sequences.png"), optimize=True)
