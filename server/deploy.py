"""Runs of a coordinator: submit, list, follow, stop, resume, fetch."""

import hashlib
import json
import shutil
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from server.events import Event, Kind
from server.runs import RunFolder, run_name, run_path
from shared.errors import RunError
from shared.flower.runs import Runs
from shared.job import JobSpec

ENDED = ("finished", "failed", "stopped", "interrupted")
_LOOK = 0.2  # seconds between looks at what a run has written
_START = 120.0  # seconds in which Flower must have started a run's process
_FROM_FLOWER = 3.0  # seconds between questions to Flower while a run has not begun


@dataclass(frozen=True)
class RunRow:
    """One run, for a list.

    Attributes:
        name: Of the run.
        status: running, finished, failed, stopped, or interrupted: its process has died.
        round: The last one finished.
        rounds: How many the job asks for.
        started: Time (ISO 8601, UTC).
        reason: Why it failed.
    """

    name: str
    status: str
    round: int
    rounds: int
    started: str
    reason: str


class Coordinator:
    """The runs of one coordinator.

    Args:
        runs: Folder of the run folders; the SuperLink's environment names the same (`server.app.RUNS`).
        flower: Starts and stops them.
    """

    def __init__(self, runs: Path, flower: Runs) -> None:
        self._runs = runs
        self._flower = flower

    def submit(self, job: JobSpec) -> str:
        """Start a new run; returns its name once its folder is there.

        Raises:
            RunError: Flower could not start it.
        """
        name = run_name(job)
        self._start(job, name, resume=False)
        return name

    def resume(self, name: str) -> None:
        """Go on with a run that was stopped, failed or was interrupted.

        Raises:
            RunError: There is no such run, it has finished, or it is running.
        """
        run = self.open(name)
        status = run.status
        if status in ("running", "finished"):
            raise RunError(f"is {status}; there is nothing to resume", where=name)
        self._flower.stop(self._flower_run(run))  # a run whose process has died still runs for Flower
        self._start(run.job, name, resume=True)

    def stop(self, name: str) -> None:
        """Stop a run; it can be resumed.

        Raises:
            RunError: There is no such run, or it is not running.
        """
        run = self.open(name)
        if not self._flower.stop(self._flower_run(run)) and run.status != "interrupted":
            raise RunError(f"is {run.status}", where=name)
        end = time.monotonic() + _START
        while run.status == "running" and time.monotonic() < end:
            time.sleep(_LOOK)
        if run.status != "finished":
            run.describe(status="stopped")

    def open(self, name: str) -> RunFolder:
        """Return a run by its name.

        Raises:
            RunError: There is no such run.
        """
        path = run_path(self._runs, name)
        if not path.is_dir():
            raise RunError("there is no such run", where=name, remedy="`wardround runs` lists them.")
        return RunFolder.read(path)

    def list(self) -> list[RunRow]:
        """Return all runs, the newest first."""
        rows = [_row(RunFolder.read(path.parent)) for path in self._runs.glob("*/job.json")]
        return sorted(rows, key=lambda row: row.started, reverse=True)

    def follow(self, name: str) -> Iterator[Event]:
        """Yield what happened in a run, and what happens, until it ends.

        Raises:
            RunError: There is no such run.
        """
        run = self.open(name)
        with (run.path / "events.jsonl").open(encoding="utf-8") as file:
            while True:
                status = run.status  # before the reading: what is written before the end is read after it
                while line := file.readline():
                    event = _event(json.loads(line))
                    if event is not None:
                        yield event
                if status in ENDED:
                    return
                time.sleep(_LOOK)

    def fetch(self, name: str, out: Path) -> Path:
        """Copy a run's folder below `out` and check its models; returns the copy.

        Raises:
            RunError: There is no such run, the copy exists, or a model is not what the run wrote.
        """
        run = self.open(name)
        target = out / name
        if target.exists():
            raise RunError("exists already", where=target, remedy="Give another folder with --out.")
        shutil.copytree(run.path, target, ignore=shutil.ignore_patterns(".*"))
        for model, digest in run.read_description().get("models", {}).items():
            if hashlib.sha256((target / model).read_bytes()).hexdigest() != digest:
                raise RunError("is not the model that the run wrote", where=target / model)
        return target

    def _start(self, job: JobSpec, name: str, *, resume: bool) -> None:
        run_id = self._flower.start(job.canonical(), name, resume=resume)
        path = run_path(self._runs, name)
        end, ask = time.monotonic() + _START, time.monotonic() + _FROM_FLOWER
        while not _has_begun(path, run_id):
            now = time.monotonic()
            if now > ask:
                ask = now + _FROM_FLOWER
                if reason := self._flower.failure(run_id):
                    raise RunError(f"could not be started: {reason}", where=name)
            if now > end:
                self._flower.stop(run_id)
                raise RunError(f"Flower did not start it within {_START:g} s", where=name)
            time.sleep(_LOOK)

    @staticmethod
    def _flower_run(run: RunFolder) -> int:
        number = run.read_description().get("flower_run")
        if not isinstance(number, int):
            raise RunError("was not started by this coordinator", where=run.path.name)
        return number


def open_coordinator(folder: Path) -> Coordinator:
    """Return the runs of the coordinator that runs in a folder of this machine.

    Raises:
        RunError: None runs there.
    """
    superlink = folder / "superlink"
    try:
        url = (superlink / "url").read_text(encoding="ascii").strip()
        context = ssl.create_default_context(cafile=str(superlink / "loopback.crt"))
    except OSError:
        raise RunError(
            "no coordinator runs here",
            where=folder,
            remedy="Name its folder with --dir, and start it if it is stopped.",
        ) from None
    return Coordinator(folder / "runs", Runs(url, context))


def _has_begun(path: Path, run_id: int) -> bool:
    if not (path / "events.jsonl").exists():
        return False
    return bool(RunFolder.read(path).read_description().get("flower_run") == run_id)


def _row(run: RunFolder) -> RunRow:
    about = run.read_description()
    return RunRow(
        name=run.path.name,
        status=run.status,
        round=run.last_round(),
        rounds=run.job.job.rounds,
        started=str(about.get("started", "")),
        reason=str(about.get("reason") or ""),
    )


def _event(line: dict[str, Any]) -> Event | None:
    """Return an event as it was told, None for one that only the log knows."""
    kind = line.pop("event")
    if kind not in get_args(Kind):
        return None
    line.pop("time")
    where = {key: line.pop(key) for key in ("round", "site", "phase") if key in line}
    return Event(kind, **where, data={key: value for key, value in line.items() if value is not None})
