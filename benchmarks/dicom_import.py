"""Thousands of DICOM series imported: how long it takes, what memory it needs, and what a kill costs.

Series of 20 slices are made from those of a scanner (the data pack dicom_samples, where it is; made ones
elsewhere), with names of their own, and lie in folders as a PACS exports them.
"""

import argparse
import hashlib
import io
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from common import DATA, conditions, finish, watched_memory
from pydicom.dataset import Dataset
from rich.console import Console
from rich.table import Table

from tests.client.data.formats.dicom_files import written

SECONDS = 240.0  # for 2,000 series of 20 slices
GROWTH = 1.3  # of memory, from a quarter of the series to all
SLICES = 20
SERIES_OF_STUDY = 4
SCAN = DATA / "dicom_samples" / "ghu_toshiba" / "8006_DTI_AX_30d"  # 26 slices, one at each place
_NUMBER = b"7777777"  # stands for a series' own in the made files


def main() -> None:
    """Measure, print a table and the figures; exit with 1 where one was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few series; held to no figure")
    parser.add_argument("--series", type=int, default=2000, help="how many")
    options = parser.parse_args()
    series = 8 if options.quick else options.series
    with tempfile.TemporaryDirectory() as temporary:
        figures = conditions() | measured(Path(temporary), series)
    table = Table("what", "figure", title=f"{series} series of {SLICES} slices")
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console().print(table)
    finish("dicom_import", figures, missed(figures), quick=options.quick)


def measured(folder: Path, series: int) -> dict[str, Any]:
    """Return the figures."""
    few, heap = folder / "few", folder / "heap"
    megabytes = write_heap(heap, series)
    write_heap(few, max(1, series // 4))
    _, memory_few = imported([few], folder / "part")
    seconds, memory = imported([heap], folder / "whole")
    again, _ = imported([heap], folder / "whole")
    killed, resumed = killed_and_resumed(heap, folder / "killed", seconds / 2)
    return {
        "megabytes": round(megabytes),
        "seconds": round(seconds, 1),
        "milliseconds_per_file": round(1000 * seconds / (series * SLICES), 2),
        "seconds_with_nothing_new": round(again, 1),
        "peak_mb_of_a_quarter": round(memory_few),
        "peak_mb": round(memory),
        "seconds_until_the_kill": round(killed, 1),
        "seconds_after_it": round(resumed, 1),
        "files": len(list((folder / "whole" / "images").rglob("*.dcm"))),
        "same_after_the_kill": digest(folder / "killed") == digest(folder / "whole"),
    }


def missed(figures: dict[str, Any]) -> list[str]:
    """Say which figures were missed."""
    found = {
        f"more than {SECONDS:.0f} s": figures["seconds"] > SECONDS,
        f"memory grows by more than {GROWTH}": figures["peak_mb"] > GROWTH * figures["peak_mb_of_a_quarter"],
        "another dataset after a kill": not figures["same_after_the_kill"],
    }
    return [name for name, is_missed in found.items() if is_missed]


def write_heap(heap: Path, series: int) -> float:
    """Write series of slices, in a folder for each study; returns their megabytes."""
    slices = templates()
    for number in range(series):
        folder = heap / f"study-{number // SERIES_OF_STUDY:05}"
        folder.mkdir(parents=True, exist_ok=True)
        own, study = (f"{1000000 + count}".encode() for count in (number, number // SERIES_OF_STUDY))
        for place, content in enumerate(slices):
            named = content.replace(b"6666666", study).replace(_NUMBER, own)
            (folder / f"IM{number % SERIES_OF_STUDY}{place:03}").write_bytes(named)
    return sum(map(len, slices)) * series / 1e6


def templates() -> list[bytes]:
    """Return the slices of one series, in which the numbers of series and study are to be put."""
    files = sorted(SCAN.glob("*"))[:SLICES]
    slices = [pydicom.dcmread(path) for path in files] or made_slices()
    return [_template(dataset, place) for place, dataset in enumerate(slices)]


def made_slices() -> list[Dataset]:
    """Return slices as small as a test's."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            pydicom.dcmread(
                written(
                    Path(folder) / f"{place}.dcm",
                    np.full((16, 16), place, np.int16),
                    ImagePositionPatient=[0, 0, place],
                    ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                    PixelSpacing=[1, 1],
                )
            )
            for place in range(SLICES)
        ]


def _template(dataset: Dataset, place: int) -> bytes:
    number = _NUMBER.decode()
    dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.10.{number}.{place + 1}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SeriesInstanceUID = f"1.2.826.0.1.3680043.11.{number}"
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.12.6666666"
    dataset.PatientID, dataset.AccessionNumber = "PAT6666666", "ACC6666666"
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def command(sources: list[Path], out: Path) -> list[str]:
    """Return what a hospital types."""
    program = [sys.executable, "-m", "wardround.cli", "data", "import"]
    key = out.parent / "benchmark.key"
    return [*program, *map(str, sources), f"--out={out}", f"--key={key}", "--processes=2"]


def imported(sources: list[Path], out: Path) -> tuple[float, float]:
    """Return the seconds of an import, and the megabytes that its processes need at most, together."""
    start = time.perf_counter()
    with watched_memory({"header_process": "headers", "wardround.cli": "main"}) as peaks:
        subprocess.run(command(sources, out), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, peaks.get("main", 0.0) + 2 * peaks.get("headers", 0.0)


def killed_and_resumed(heap: Path, out: Path, seconds: float) -> tuple[float, float]:
    """Kill an import after some seconds, and do it again; returns the seconds of both."""
    start = time.perf_counter()
    process = subprocess.Popen(command([heap], out), stdout=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return time.perf_counter() - start, imported([heap], out)[0]


def digest(out: Path) -> str:
    """Return what a dataset holds, as one hash."""
    whole = hashlib.sha256((out / "manifest.csv").read_bytes())
    for path in sorted((out / "images").rglob("*.dcm")):
        whole.update(f"{path.relative_to(out)} {path.readlink()}".encode())
    return whole.hexdigest()


if __name__ == "__main__":
    main()
