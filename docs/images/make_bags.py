"""Draw bags.png beside this file: `python -m docs.images.make_bags`; it runs the job phantom-slides."""

import csv
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageFilter
from rich.console import Console

from client.data.manifest.splits import SplitTable
from client.predict.run_model import predict_with
from shared.job.schema import load_job
from simulate.session.session import Hospitals, execute, start

PROJECT = Path(__file__).parents[2]
SLIDES, SIDE, GAP = 4, 224, 6


def picture(folder: Path) -> Image.Image:
    """Return test slides with a tumour, its border in green, and below each what was looked at."""
    manifest, said = answered("phantom-slides", folder)
    rows = [row for row in table(manifest) if row["split"] == "test" and row["label"] == "tumour"]
    overlays = {row["patient"]: row["overlay"] for row in table(said / "predictions.csv")}
    sheet = Image.new("RGB", (SLIDES * (SIDE + GAP) - GAP, 2 * SIDE + GAP), "white")
    for number, row in enumerate(rows[:SLIDES]):
        slide = Image.open(manifest.parent / row["tiles"]).convert("RGB")
        mask = Image.open(manifest.parent / row["tumour"]).resize(slide.size)
        border = ImageChops.subtract(mask.filter(ImageFilter.MaxFilter(7)), mask)
        slide.paste((0, 120, 60), mask=border)
        for place, shown in enumerate((slide, Image.open(said / overlays[row["patient"]]))):
            sheet.paste(shown.resize((SIDE, SIDE)), (number * (SIDE + GAP), place * (SIDE + GAP)))
    return sheet.quantize(64)


def answered(
    name: str, folder: Path, changes: Mapping[str, Any] | None = None, shares: SplitTable | None = None
) -> tuple[Path, Path]:
    """Simulate a job of a synthetic dataset; return its manifest, and the folder of what it predicts."""
    job = load_job(PROJECT / "configs" / "jobs" / f"{name}.toml", dict(changes or {}))
    run = start(job, Hospitals(shares=shares or SplitTable()), folder, "cpu", baselines=False)
    execute(run, "in-process", Console(file=io.StringIO()))
    manifest = next(folder.glob(".phantoms/*/*/manifest.csv"))
    predict_with(run.path, manifest, folder / "said", device="cpu")
    return manifest, folder / "said"


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        picture(Path(place)).save(Path(__file__).with_name("bags.png"), optimize=True)
