"""What a bundle makes of image files: its own configuration, run by MONAI in a process that has no Wardround.

A program that is compared in the process that made it may come from what TorchScript remembers of an earlier
one, and a configuration that is only written is not compared at all.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.data.cache.preprocess import prepare
from client.data.kinds import first_of_kind, kinds_of
from client.data.manifest.rows import Record
from client.export.example_files import example_files
from client.export.programs import LARGEST_DIFFERENCE
from shared.errors import RunError
from shared.finished_run import FinishedRun

_LIMIT_S = 1800.0
_PREPARE = """
import gc
import sys
gc.disable()  # MONAI is loaded in half the time
sys.modules.update(dict.fromkeys(("wardround", "shared", "client", "server", "simulate")))  # not to be had
import numpy
from monai.bundle import ConfigParser

parser = ConfigParser()
parser.read_config("configs/inference.json")
parser["dataset_dir"] = "images"
for number, item in enumerate(parser.get_parsed_content("dataset")):
    numpy.save(f"{number}.npy", item[sys.argv[1]])
"""


def require_same_preparation(run: FinishedRun, files: Mapping[str, bytes]) -> None:
    """Compare what a bundle makes of image files with what training makes of them.

    Args:
        run: Whose model it is.
        files: Of the bundle, by name.

    Raises:
        RunError: It is something else, by more than `LARGEST_DIFFERENCE`, or the bundle can't be run.
    """
    kinds = kinds_of(run.job)
    name = first_of_kind(kinds, "image")
    [column] = run.job.data.images
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for relative, content in files.items():
            (folder / relative).parent.mkdir(exist_ok=True)
            (folder / relative).write_bytes(content)
        (folder / "images").mkdir()
        images = example_files(folder / "images", run.job.data)
        _prepare(run, name, folder)
        for number, file in enumerate(images):
            record = Record(1, "nobody", (file,), cells={column: file.name}, folder=file.parent)
            wanted = prepare(record, {name: kinds[name]}, run.job.data).values[name]
            _require_same(run, wanted, np.load(folder / f"{number}.npy"))


def _prepare(run: FinishedRun, name: str, folder: Path) -> None:
    threads = {"OMP_NUM_THREADS": str(run.job.training.threads)}
    done = subprocess.run(  # noqa: S603 (this interpreter, and a script of ours)
        [sys.executable, "-E", "-P", "-c", _PREPARE, name],
        cwd=folder,
        env=os.environ | threads,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = said[-1][:300] if said else f"exit code {done.returncode}"
        raise RunError(f"the bundle can't be run by MONAI: {reason}", where=run.path)


def _require_same(run: FinishedRun, wanted: NDArray[np.float32], found: NDArray[np.float32]) -> None:
    """Refuse what differs.

    Raises:
        RunError: It does.
    """
    same_shape = wanted.shape == found.shape
    if same_shape and np.allclose(found, wanted, rtol=LARGEST_DIFFERENCE, atol=LARGEST_DIFFERENCE):
        return
    apart = (
        f"by {np.abs(wanted - found).max():.3g}"
        if same_shape
        else f"in shape, {wanted.shape} and {found.shape}"
    )
    raise RunError(
        "the bundle's preprocessing would be another one than training's: on an image made for comparing "
        f"they differ {apart}",
        where=run.path,
        remedy="Take --format onnx or torchscript, and prepare images as preprocessing.json says.",
    )
