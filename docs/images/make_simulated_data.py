"""Draw simulated-data.png beside this file: `python -m docs.images.make_simulated_data`."""

import csv
import tempfile
from pathlib import Path

from PIL import Image, ImageChops, ImageFilter

from simulate.data.patients import SCANNERS
from simulate.data.phantom import make_phantom

TILES, SIDE = 3, 96


def picture() -> Image.Image:
    """Return one row per hospital: brains with the tumour's border in red, then lesions of the skin."""
    with tempfile.TemporaryDirectory() as folder:
        manifests = [make_phantom(f"phantom-{name}", Path(folder), 1) for name in ("brain", "lesions")]
        rows = [[tile for manifest in manifests for tile in _pick(manifest, site)] for site in SCANNERS]
    sheet = Image.new("RGB", (2 * TILES * SIDE, len(rows) * SIDE))
    for number, tile in enumerate(tile for row in rows for tile in row):
        sheet.paste(tile, (number % (2 * TILES) * SIDE, number // (2 * TILES) * SIDE))
    return sheet.quantize(160)


def _pick(manifest: Path, site: str) -> list[Image.Image]:
    """Return the first image of a hospital's first patients, or the first one with a tumour."""
    tiles: dict[str, Image.Image] = {}
    with manifest.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["site"] != site or row["patient"] in tiles or len(tiles) == TILES:
                continue
            tile = Image.open(manifest.parent / row["image"]).convert("RGB")
            if "mask" in row:
                mask = Image.open(manifest.parent / row["mask"])
                if mask.getbbox() is None:
                    continue
                tile.paste(
                    (255, 60, 60), mask=ImageChops.subtract(mask.filter(ImageFilter.MaxFilter(3)), mask)
                )
            tiles[row["patient"]] = tile.resize((SIDE, SIDE))
    return list(tiles.values())


if __name__ == "__main__":
    picture().save(Path(__file__).with_name("simulated-data.png"), optimize=True)
