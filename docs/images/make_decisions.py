"""Draw decisions.png beside this file: `python -m docs.images.make_decisions`; it runs a shipped job."""

import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

from client.data.manifest.splits import SplitTable
from docs.images.make_bags import answered, table

CHANGES = {"evaluation.decisions.calibration": "temperature", "evaluation.decisions.coverage": 0.9}
VALIDATION = 0.4  # share of the patients who do not test: thresholds are as fine as they are many
CLASS, OTHER = "malignant", "benign"
WIDTH, LANE, LEFT, DOT = 760, 64, 130, 4
INK, RULED_OUT, UNSURE, AXIS = (40, 40, 40), (0, 114, 178), (230, 159, 0), (190, 190, 190)


def picture(folder: Path) -> Image.Image:
    """Return a dot for each test patient at the calibrated probability; orange ones may be either."""
    manifest, said = answered("phantom-records", folder, CHANGES, SplitTable(validation=VALIDATION))
    testing = {row["patient"] for row in table(manifest) if row["split"] == "test"}
    rows = [row for row in table(said / "predictions.csv") if row["patient"] in testing]
    sheet = Image.new("RGB", (WIDTH, 2 * LANE + 40), "white")
    draw = ImageDraw.Draw(sheet)
    for lane, true in enumerate((CLASS, OTHER)):
        top, own = lane * LANE, [row for row in rows if row["true"] == true]
        draw.text((4, top + LANE // 2 - 14), f"truly {true}:\n{len(own)} patients", fill=INK)
        draw.line((LEFT, top + LANE, WIDTH - 10, top + LANE), fill=AXIS)
        for number, row in enumerate(sorted(own, key=lambda row: float(row[f"calibrated/{CLASS}"]))):
            x = LEFT + (WIDTH - 10 - LEFT) * float(row[f"calibrated/{CLASS}"])
            y = top + 8 + (number % 6) * (LANE - 16) / 5
            sure = row["prediction_set"] in (CLASS, OTHER)
            draw.ellipse((x - DOT, y - DOT, x + DOT, y + DOT), fill=RULED_OUT if sure else UNSURE)
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = LEFT + (WIDTH - 10 - LEFT) * share
        draw.text((x, 2 * LANE + 6), f"{share:.0%}", fill=INK, anchor="ma")
    draw.text(
        (LEFT, 2 * LANE + 24), f"calibrated probability of {CLASS}; orange: no class is ruled out", fill=INK
    )
    return sheet.quantize(32)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        picture(Path(place)).save(Path(__file__).with_name("decisions.png"), optimize=True)
