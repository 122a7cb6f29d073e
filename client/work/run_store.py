"""What a site keeps of a run between its rounds: of compression, of its strategy, of its optimiser.

One file for each round and purpose, below a folder of the site: a worker that was restarted, another worker
of a simulation or a run that was resumed all find what was kept after the site's last round before the one
asked for. A round that is asked for again therefore begins as it did the first time. Of a run the last three
rounds are kept, as a coordinator that was killed goes on up to two rounds before the last it had asked for,
and what belongs to the best round, with which the test is made.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from shared.errors import SiteError
from shared.files import replace_tensors

Purpose = Literal["residual", "strategy", "optimizer"]
Kept = dict[str, NDArray[np.float32]]

_HEADER = "wardround"
_ROUNDS, _RUNS = 3, 4  # kept: rounds of a run, runs


class RunStore:
    """What one site keeps, of its last runs.

    Args:
        folder: Made when it is needed; nobody else may read it, as it tells of the data as an update does.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def before(self, run: str, round_: int, purpose: Purpose, sizes: Mapping[str, int] | None = None) -> Kept:
        """Return what was kept after the site's last round before `round_`; nothing before all.

        Args:
            run: Any text that names it.
            round_: From 1.
            purpose: For what it was kept.
            sizes: Length of each vector, by name; None takes what there is.

        Raises:
            SiteError: The file is damaged.
        """
        rounds = self._rounds(run, purpose)
        earlier = [number for number in rounds if number < round_]
        path = self._path(run, max(earlier or rounds, default=0), purpose)
        if not rounds:
            return {}
        try:
            kept, since = _read(path)
        except (OSError, safetensors.SafetensorError, KeyError, ValueError, TypeError):
            raise _unusable("can't be used: it is damaged", path, purpose) from None
        if not earlier:
            if since < round_ and purpose != "residual":
                raise _unusable(
                    f"is of a later round than {round_}, before which the site kept something", path, purpose
                )
            return {}
        if sizes is not None and {name: vector.shape for name, vector in kept.items()} != {
            name: (size,) for name, size in sizes.items()
        }:
            raise _unusable("can't be used: it is not this job's", path, purpose)
        return kept

    def keep(
        self,
        run: str,
        round_: int,
        purpose: Purpose,
        vectors: Mapping[str, NDArray[np.float32]],
        best: int = 0,
    ) -> None:
        """Write what a round has left; later rounds of the run are forgotten, as they are done again.

        Args:
            run: As for `before`.
            round_: The round.
            purpose: For what it is kept.
            vectors: By name.
            best: The best round so far, which may be asked for in the test; 0 where there is none.

        Raises:
            SiteError: It can't be written.
        """
        path = self._path(run, round_, purpose)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            since = self._since(run, round_, purpose)
            _write(path, vectors, since)
            self._forget(run, round_, purpose, best)
        except OSError as error:
            raise SiteError(f"can't be written ({error.strerror})", where=_shown(path)) from None

    def midst(self, run: str, number: int) -> Path:
        """Return the file of a pass of a round, by its number; it goes with what else is kept of the run.

        Raises:
            SiteError: The folder can't be used.
        """
        path = self._path(run, 0, "strategy").with_name(f"midst-{number}.safetensors")
        try:
            self._forget_runs()
        except OSError as error:
            raise SiteError(f"can't be used ({error.strerror})", where=_shown(path)) from None
        return path

    def _since(self, run: str, round_: int, purpose: Purpose) -> int:
        """Return the first round of a run in which the site kept something."""
        earlier = [number for number in self._rounds(run, purpose) if number < round_]
        return _header(self._path(run, max(earlier), purpose))["since"] if earlier else round_

    def _forget(self, run: str, last: int, purpose: Purpose, best: int) -> None:
        done = sorted(number for number in self._rounds(run, purpose) if number <= last)
        needed = {*done[-_ROUNDS:], *[number for number in done if number <= best][-1:]}
        for number in self._rounds(run, purpose):
            if number not in needed:
                self._path(run, number, purpose).unlink(missing_ok=True)
        self._forget_runs()

    def _forget_runs(self) -> None:
        runs = sorted(self._folder.glob("*"), key=lambda folder: folder.stat().st_mtime)
        for folder in runs[:-_RUNS]:
            shutil.rmtree(folder, ignore_errors=True)

    def _rounds(self, run: str, purpose: Purpose) -> list[int]:
        folder = self._path(run, 0, purpose).parent
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        pattern = re.compile(rf"{purpose}-(\d{{1,9}})\.safetensors")
        return [int(match[1]) for name in names if (match := pattern.fullmatch(name))]

    def _path(self, run: str, round_: int, purpose: Purpose) -> Path:
        key = hashlib.sha256(run.encode()).hexdigest()[:32]  # what came over the network is not a path
        return self._folder / key / f"{purpose}-{round_}.safetensors"


_PUT_BACK = (
    "Put it back from a backup, or remove the files of its folder: the site then goes on in this run as one "
    "that takes part for the first time."
)
_LOST: dict[Purpose, str] = {
    "residual": "Remove the file: what the last round left out of the update is then lost.",
    "strategy": _PUT_BACK,
    "optimizer": _PUT_BACK,
}


def _unusable(problem: str, path: Path, purpose: Purpose) -> SiteError:
    return SiteError(problem, where=_shown(path), remedy=_LOST[purpose])


def _write(path: Path, vectors: Mapping[str, NDArray[np.float32]], since: int) -> None:
    header = {_HEADER: json.dumps({"sha256": _digest(vectors, since), "since": since})}
    whole = {name: np.ascontiguousarray(vector) for name, vector in vectors.items()}
    replace_tensors(path, lambda part: safetensors.numpy.save_file(whole, part, header))


def _header(path: Path) -> dict[str, Any]:
    with safetensors.safe_open(path, "numpy") as file:
        header: dict[str, Any] = json.loads((file.metadata() or {})[_HEADER])
    return header


def _read(path: Path) -> tuple[Kept, int]:
    """Return what a file holds, and since which round something was kept.

    Raises:
        ValueError: It is not what was written.
    """
    kept: Kept = safetensors.numpy.load_file(path)
    header = _header(path)
    if header["sha256"] != _digest(kept, header["since"]):
        raise ValueError
    return kept, int(header["since"])


def _digest(vectors: Mapping[str, NDArray[np.float32]], since: int) -> str:
    digest = hashlib.sha256(str(since).encode())
    for name in sorted(vectors):
        digest.update(f"{name} {vectors[name].dtype} {vectors[name].shape}".encode())
        digest.update(np.ascontiguousarray(vectors[name]).data)
    return digest.hexdigest()


def _shown(path: Path) -> str:
    """Return what an error may say of a file: it leaves the site, and where the site's folder is does not."""
    return f"kept/{path.parent.name}/{path.name}"
