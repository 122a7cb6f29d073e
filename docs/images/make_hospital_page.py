"""Draw hospital-*.png beside this file: `python -m docs.images.make_hospital_page`. Needs Chromium."""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.browser import Watched, watched_tab
from tests.client.web.hospital import Hospital, make_hospital

_HERE = Path(__file__).parent
_WIDTH = 1000
_COLOURS = 128


def draw(hospital: Hospital) -> None:
    """Save the pictures of a hospital's page, served as its command serves it."""
    command = [sys.executable, "-m", "wardround", "client", "page", "--dir", str(hospital.folder)]
    with watched_tab(_WIDTH) as tab, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101
        link = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
        tab.page.goto(link)
        _save(tab, "overview")
        tab.page.goto(f"{link.partition('/enter')[0]}/jobs/{hospital.private.digest()}")
        _save(tab, "job")
        process.terminate()


def _save(tab: Watched, name: str) -> None:
    shot = Image.open(io.BytesIO(tab.page.screenshot(full_page=True))).convert("RGB")
    small = shot.quantize(_COLOURS, Image.Quantize.FASTOCTREE)
    small.save(_HERE / f"hospital-{name}.png", optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="st-mary-") as place:
        draw(make_hospital(Path(place), patients=180, budget=20.0))
