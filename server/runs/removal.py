"""Runs that are removed: by hand, or by `[retention]` in server.toml when they are old or take too much."""

import asyncio
import logging
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from server.files import disk_errors
from server.folder.limits import RetentionTable
from shared.errors import WardroundError
from shared.run_folder import ABOUT, GOING, JOB, LOCK, description_of, status_of
from shared.text.logs import about

log = logging.getLogger(__name__)

_LOOK = 3600.0  # seconds between looks
_GB = 10**9  # bytes


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
    """Remove the folder of a run on which nobody is at work.

    Raises:
        RunError: It can't be removed.
    """
    with disk_errors(path):
        for name in (JOB, ABOUT):  # first: what is left of it after a crash is no run
            (path / name).unlink(missing_ok=True)
        shutil.rmtree(path)


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
        """Look again and again until cancelled."""
        while self._kept.days or self._kept.gigabytes:
            await asyncio.to_thread(self.look, datetime.now(UTC))
            await asyncio.sleep(_LOOK)

    def look(self, now: datetime) -> None:
        """Remove what is too old, then the oldest as long as all take too much room."""
        ended = sorted(self._ended(), key=lambda run: run.end)
        too_old = (
            now - timedelta(days=self._kept.days) if self._kept.days else datetime.min.replace(tzinfo=UTC)
        )
        most = (self._kept.gigabytes or float("inf")) * _GB
        total = sum(map(_size, self._folder.glob("*/")))
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
                if status_of(path.parent) not in GOING:
                    found.append(_Ended(path.parent.name, _end_of(path.parent), _size(path.parent)))
        return found


def _end_of(path: Path) -> datetime:
    said = description_of(path).get("finished")
    if said:
        return datetime.fromisoformat(str(said)).astimezone(UTC)
    return datetime.fromtimestamp((path / ABOUT).stat().st_mtime, UTC)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and file.name != LOCK)
