"""Draw NAME.png beside this file: an image of a rehearsal's test, true and predicted.

python -m docs.images.make_example RUN NAME [best | median | worst]
"""

import sys
from pathlib import Path

from PIL import Image

_COLOURS = 128


def picture(run: Path, rank: str) -> Image.Image:
    """Return an example that a rehearsal has kept, with few colours."""
    shown = Image.open(run / "rehearsal" / f"{rank}.png").convert("RGB")
    return shown.quantize(_COLOURS, Image.Quantize.FASTOCTREE)


if __name__ == "__main__":
    run, name, *rank = sys.argv[1:]
    picture(Path(run), *(rank or ["median"])).save(Path(__file__).with_name(f"{name}.png"), optimize=True)
