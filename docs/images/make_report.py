"""Draw report.png beside this file from a run: `python -m docs.images.make_report RUN`. Needs Chromium."""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from server.report.write import write_page

_SIZE = (1200, 2860)
_SHOWN = (900, 2145)


def picture(run: Path) -> Image.Image:
    """Return the upper part of a run's report, as a browser shows it."""
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder) / "report.html", Path(folder) / "shot.png"
        write_page(run, page)
        size = ",".join(map(str, _SIZE))
        options = ("--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}")
        command = ["chromium", *options, f"--screenshot={shot}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (our own page)
        return (
            Image.open(shot)
            .convert("RGB")
            .resize(_SHOWN, Image.Resampling.LANCZOS)
            .quantize(256, Image.Quantize.FASTOCTREE)
        )


if __name__ == "__main__":
    picture(Path(sys.argv[1])).save(Path(__file__).with_name("report.png"), optimize=True)
