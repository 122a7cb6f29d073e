"""Draw simulated-data.png beside this file: `python -m docs.images.make_simulated_data`."""

import csv
import tempfile
from pathlib import Path

from PIL import Image, ImageChops, ImageFilter

from simulate.phantom import make_phantom

COLUMNS, SIDE = 5, 96


def picture() -> Image.Image:
    """Return one row a hospital: slices with the tumour's outline, then lesions of the skin."""
    with tempfile.TemporaryDirectory() as folder:
        brains, lesions = (make_phantom(f"phantom-{name}", Path(folder), 1) for name in ("brain", "lesions"))
        rows = [_pick(brains, site) for site in ("north", "south", "east", "west")]
        rows += [_pick(lesions, site) for site in ("north", "south", "east")]
    sheet = Image.new("RGB", (COLUMNS * SIDE, len(rows) * SIDE))
    for number, tile in enumerate(tile for row in rows for tile in row):
        sheet.paste(tile, (number % COLUMNS * SIDE, number // COLUMNS * SIDE))
    return sheet


def _pick(manifest: Path, site: str) -> list[Image.Image]:
    """Return the first image of a hospital's patients, or the first with a tumour, its border in red."""
    tiles: dict[str, Image.Image] = {}
    with manifest.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["site"] != site or row["patient"] in tiles or len(tiles) == COLUMNS:
                continue
            tile = Image.open(manifest.parent / row["image"]).convert("RGB")
            if "mask" in row:
                mask = Image.open(manifest.parent / row["mask"])
                if mask.getbbox() is None:
                    continue
                tile.paste((255, 60, 60), mask=_border(mask))
            tiles[row["patient"]] = tile.resize((SIDE, SIDE))
    return list(tiles.values())


def _border(mask: Image.Image) -> Image.Image:
    return ImageChops.subtract(mask.filter(ImageFilter.MaxFilter(3)), mask)


if __name__ == "__main__":
    picture().save(Path(__file__).with_name("simulated-data.png"), optimize=True)
