"""What compression has left out of a site's updates, kept at the site for its next round.

One file a round, below a folder of the site: a worker that was restarted, another worker of a simulation or
a run that was resumed all find what was left after the site's last round before the one asked for. A round
that is asked for again therefore begins as it did the first time. Of a run the last three rounds are kept,
since a coordinator that was killed goes on up to two rounds before the last it had asked for.
"""

import hashlib
import os
import re
import shutil
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from shared.errors import SiteError

_KEY = "residual"
_FILE = re.compile(r"(\d{1,9})\.safetensors")
_ROUNDS, _RUNS = 3, 4  # kept: rounds of a run, runs


class Residuals:
    """The residuals of one site, of its last runs.

    Args:
        folder: Made when it is needed; nobody else may read it, as it tells of the data as an update does.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def before(self, run: str, round_: int, size: int) -> NDArray[np.float32] | None:
        """Return what was left, shape (size,), after the site's last round before `round_`; None before all.

        Raises:
            SiteError: The file is damaged.
        """
        earlier = [number for number in self._rounds(run) if number < round_]
        if not earlier:
            return None
        path = self._path(run, max(earlier))
        try:
            residual: NDArray[np.float32] = safetensors.numpy.load_file(path)[_KEY]
            if residual.dtype != np.float32 or residual.shape != (size,) or not np.isfinite(residual).all():
                raise ValueError
        except (OSError, safetensors.SafetensorError, KeyError, ValueError):
            raise SiteError(
                "can't be used: it is damaged, or not this job's",
                where=_shown(path),
                remedy="Remove the file: what the last round left out of the update is then lost.",
            ) from None
        return residual

    def keep(self, run: str, round_: int, residual: NDArray[np.float32]) -> None:
        """Write what a round has left; later rounds of the run are forgotten, as they are done again.

        Raises:
            SiteError: It can't be written.
        """
        path = self._path(run, round_)
        part = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(safetensors.numpy.save({_KEY: residual}))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            self._forget(run, round_)
        except OSError as error:
            raise SiteError(f"can't be written ({error.strerror})", where=_shown(path)) from None

    def _forget(self, run: str, last: int) -> None:
        rounds = sorted(self._rounds(run))
        later = [number for number in rounds if number > last]
        for number in [*later, *[number for number in rounds if number <= last][:-_ROUNDS]]:
            self._path(run, number).unlink(missing_ok=True)
        runs = sorted(self._folder.iterdir(), key=lambda folder: folder.stat().st_mtime)
        for folder in runs[:-_RUNS]:
            shutil.rmtree(folder, ignore_errors=True)

    def _rounds(self, run: str) -> list[int]:
        folder = self._path(run, 0).parent
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return [int(match[1]) for name in names if (match := _FILE.fullmatch(name))]

    def _path(self, run: str, round_: int) -> Path:
        key = hashlib.sha256(run.encode()).hexdigest()[:32]  # what came over the network is no path
        return self._folder / key / f"{round_}.safetensors"


def _shown(path: Path) -> str:
    """Return what an error may say of a file: it leaves the site, and where the site's folder is does not."""
    return f"residuals/{path.parent.name}/{path.name}"
