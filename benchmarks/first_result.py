"""The first result with a picture: one command, from the folder of a fresh clone.

What `make simulate` does after the installation: `wardround simulate configs/jobs/quickstart.toml`, in a new
process and a folder that has nothing but `configs/`. Seconds from the command to the page with the model's
outlines beside the true ones. It may take 90 s on two cores.

    python benchmarks/first_result.py [--quick]    # --quick: one round; held to no figure
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import conditions, finish
from rich.console import Console
from rich.table import Table

PROJECT = Path(__file__).parents[1]
LONGEST = 90.0  # seconds, on two cores
PICTURE = "data:image/png"


def main() -> None:
    """Measure, print, and exit with 1 where the figure is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round; held to no figure")
    quick = parser.parse_args().quick
    command = [sys.executable, "-m", "wardround", "simulate", "configs/jobs/quickstart.toml"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "configs").symlink_to(PROJECT / "configs")
        begun = time.perf_counter()
        subprocess.run(
            [*command, *(("--rounds", "1") if quick else ())],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - begun
        (page,) = Path(folder).glob("runs/*/report.html")
        pictures = page.read_text(encoding="utf-8").count(PICTURE)
    table = Table("seconds", "pictures", title="The first result")
    table.add_row(f"{seconds:.1f}", str(pictures))
    Console().print(table)
    missed = [f"{seconds:.0f} s"] if seconds > LONGEST else []
    if not pictures:
        missed.append("no picture")
    finish("first_result", {**conditions(), "seconds": seconds, "pictures": pictures}, missed, quick=quick)


if __name__ == "__main__":
    main()
