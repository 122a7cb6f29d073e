"""Runs that are removed: by hand, or by `[retention]` in server.toml when they are old or take too much."""

import asyncio
import logging
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from server.files import AGAIN, disk_errors
from server.folder.limits import RetentionTable
from shared.errors import WardroundError
from shared.run_folder import ABOUT, GOING, LOCK, description_of
from shared.text.logs import about

log = logging.getLogger(__name__)

_LOOK = 3600.0  # seconds between looks
_GB = 10**9  # bytes
_REMOVED = ".removed"  # folder beside the runs: what is in it is no run any more


class Removes(Protocol):
    """Who removes runs by their names."""

    def remove(self, name: str) -> None:
        """Remove a run."""


@dataclass(frozen=True)
class _Ended:
    name: str
    end: datetime
    size: int


def remove_run(path: Path) -> None:
    """Remove the folder of a run on which nobody is at work; whoever calls this has the run's lock.

    Raises:
        RunError: It can't be removed.
    """
    gone = path.parent / _REMOVED / path.name
    with disk_errors(path, AGAIN):
        gone.parent.mkdir(exist_ok=True)
        path.rename(gone)  # at once: what a crash leaves is no run, and `sweep` finds it
        with suppress(FileNotFoundError):  # somebody sweeps
            shutil.rmtree(gone)


def sweep(folder: Path) -> None:
    """Remove what is left of runs whose removal was broken off.

    Args:
        folder: Of the run folders.
    """
    for left in (folder / _REMOVED).glob("*"):
        shutil.rmtree(left, ignore_errors=True)


class Retention:
    """Removes runs that have ended, one look after the other.

    Args:
        folder: Of the run folders.
        runs: Removes them, and writes that into the audit log.
        kept: What is kept.
    """

    def __init__(self, folder: Path, runs: Removes, kept: RetentionTable) -> None:
        self._folder = folder
        self._runs = runs
        self._kept = kept

    async def watch(self) -> None:
        """Look again and again until cancelled, first when runs that were broken off have gone on."""
        await asyncio.to_thread(sweep, self._folder)
        while self._kept.days or self._kept.gigabytes:
            await asyncio.sleep(_LOOK)
            await asyncio.to_thread(self.look, datetime.now(UTC))

    def look(self, now: datetime) -> None:
        """Remove what is too old, then the oldest as long as all take too much room."""
        sweep(self._folder)
        ended = sorted(self._ended(), key=lambda run: run.end)
        too_old = (
            now - timedelta(days=self._kept.days) if self._kept.days else datetime.min.replace(tzinfo=UTC)
        )
        most = (self._kept.gigabytes or float("inf")) * _GB
        total = sum(_size(path.parent) for path in self._folder.glob(f"*/{ABOUT}"))
        for run in ended:
            if run.end >= too_old and total <= most:
                return
            why = "too old" if run.end < too_old else "too much room is taken"
            try:
                self._runs.remove(run.name)
            except WardroundError as error:
                log.warning("run %s can't be removed: %s", run.name, error, extra=about(run=run.name))
                continue
            total -= run.size
            log.info(
                "run %s is removed: %s ([retention])", run.name, why, extra=about(run=run.name, reason=why)
            )

    def _ended(self) -> list[_Ended]:
        found = []
        for path in self._folder.glob(f"*/{ABOUT}"):
            with suppress(OSError, ValueError):
                if description_of(path.parent).get("status") not in GOING:  # one broken off may go on
                    found.append(_Ended(path.parent.name, _end_of(path.parent), _size(path.parent)))
        return found


def _end_of(path: Path) -> datetime:
    said = description_of(path).get("finished")
    if said:
        return datetime.fromisoformat(str(said)).astimezone(UTC)
    return datetime.fromtimestamp((path / ABOUT).stat().st_mtime, UTC)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and file.name != LOCK)
