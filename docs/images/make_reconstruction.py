"""Draw reconstruction.png beside this file from runs: `python -m docs.images.make_reconstruction RUN...`."""

import sys
from pathlib import Path

from docs.images.make_restoration import picture

if __name__ == "__main__":
    picture([Path(run) for run in sys.argv[1:]]).save(
        Path(__file__).with_name("reconstruction.png"), optimize=True
    )
