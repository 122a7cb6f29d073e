"""What the benchmarks share: hospitals on disk, the job that they train, what was measured, the last line."""

import csv
import json
import multiprocessing
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
from PIL import Image

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))  # a script, run from anywhere

from shared.job.schema import JobSpec, load_job  # noqa: E402
from tests.jobs import make_job  # noqa: E402, F401 (every benchmark builds its job with it)

DATA = Path(os.environ.get("WARDROUND_DATA", PROJECT.parent / "shared" / "data"))
"""Where the packs of real data are, a folder each."""

T = TypeVar("T")
MB = 10**6
_LOOK = 0.25  # seconds between looks at the memory of processes


def shipped(name: str, changes: Mapping[str, Any] | None = None) -> JobSpec:
    """Return a job of configs/jobs, with other values of some dotted keys."""
    return load_job(PROJECT / "configs" / "jobs" / f"{name}.toml", dict(changes or {}))


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_hospitals(
    folder: Path, sites: int, images: int, side: int, splits: tuple[str, ...] = ("train",)
) -> Path:
    """Write bright discs on noise and return the manifest.

    Args:
        folder: Made here.
        sites: Hospitals; they are named in the manifest's column `site`.
        images: Images of each, every one of a patient of its own.
        side: Pixels along each axis.
        splits: What the images are for, in turn.
    """
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    rows = []
    for site in range(sites):
        for number in range(images):
            name = f"{site}-{number}"
            cy, cx = generator.uniform(side / 4, 3 * side / 4, 2)
            mask = (y - cy) ** 2 + (x - cx) ** 2 < (side / 8) ** 2
            image = generator.normal(80, 10, (side, side)) + 90 * mask
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
            Image.fromarray((mask * 255).astype(np.uint8)).save(folder / f"{name}-mask.png")
            rows.append(
                {
                    "site": f"site-{site:03d}",
                    "patient": f"patient-{name}",
                    "image": f"{name}.png",
                    "mask": f"{name}-mask.png",
                    "split": splits[number % len(splits)],
                }
            )
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


def apart(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a fresh process, so that no measurement inherits what another one warmed or leaked.

    Raises:
        RuntimeError: The process ended without a result; its traceback is on the standard error.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=send_result, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        result: T = ours.recv()
    except EOFError:
        raise RuntimeError(f"{function.__name__} failed") from None
    finally:
        process.join()
    return result


def send_result(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Call a function in this process and send what it returns."""
    pipe.send(function(*arguments))


def cpu_seconds() -> float:
    """Return what this process and all its descendants have used so far, user and system."""
    used = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
    return used


@contextmanager
def watched_memory(
    roles: Mapping[str, str], fields: tuple[str, ...] = ("VmHWM",)
) -> Iterator[dict[str, float]]:
    """Give the highest resident memory of each role among this process and its descendants, in MB.

    Args:
        roles: By a mark in the command line; the first that is there counts.
        fields: Of `/proc/PID/status`, added up. VmHWM is the process's own peak; others are looked at now and
            then, such as RssAnon and RssShmem, which leave out pages of files.
    """
    peaks: dict[str, float] = {}
    end = threading.Event()

    def look() -> None:
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with suppress(psutil.Error, OSError):  # it ended meanwhile
                line = " ".join(process.cmdline())
                role = next((role for mark, role in roles.items() if mark in line), None)
                if role is not None:
                    peaks[role] = max(peaks.get(role, 0.0), _resident(process.pid, fields))

    def watch() -> None:
        while not end.wait(_LOOK):
            look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        end.set()
        thread.join()


def _resident(pid: int, fields: tuple[str, ...]) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    found = [int(line.split()[1]) for line in lines if line.partition(":")[0] in fields]
    return sum(found) * 1024 / MB


@dataclass(frozen=True)
class Work:
    """What one benchmark asks of whoever does it."""

    manifest: Path
    sites: int
    rounds: int
    workers: int
    batch: int
    steps: int  # optimiser steps of a site in a round


@dataclass(frozen=True)
class Measured:
    """What one run took, in seconds."""

    startup: float  # until the second round begins: processes, imports, data, the first round
    rounds: list[tuple[float, float]]  # when each began and ended, by the monotonic clock
    cpu: float  # of the rounds, user and system, over all processes


class RoundClock:
    """Times all rounds but the first, which warms up, and the last, whose begin ends the one before.

    Args:
        started: When the process was asked for, by the monotonic clock.
        last: Number of the last round.
        go: Set when the rounds begin that count.
    """

    def __init__(self, started: float, last: int, go: Event) -> None:
        self._started = started
        self._last = last
        self._go = go
        self._begun: list[float] = []
        self._cpu = 0.0

    def begin(self, round_: int) -> None:
        """Note that a round begins."""
        if round_ == 2:
            self._cpu = cpu_seconds()
            self._go.set()
        self._begun.append(time.monotonic())
        if round_ == self._last:
            self._cpu = cpu_seconds() - self._cpu

    def measured(self) -> Measured:
        """Return what the rounds took."""
        return Measured(self._begun[1] - self._started, list(pairwise(self._begun[1:])), self._cpu)


def conditions() -> dict[str, Any]:
    """Return on what, and how undisturbed, a benchmark is running."""
    return {
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
    }


def finish(benchmark: str, figures: dict[str, Any], missed: list[str], *, quick: bool) -> None:
    """Print the figures as one line of JSON and leave; with exit code 1 where a figure was missed.

    A quick run is too short for its figures to mean something: it is held to none of them.
    """
    held = [] if quick else missed
    text = json.dumps({"benchmark": benchmark, "quick": quick, **figures, "missed": held})
    # JSON has no NaN, though Python writes it.
    print(json.dumps(json.loads(text, parse_constant=lambda _: None)), flush=True)
    sys.exit(1 if held else 0)


def are_there(*packs: str) -> bool:
    """Say whether packs are there; which are not is said on the standard error."""
    gone = [str(DATA / pack) for pack in packs if not (DATA / pack).is_dir()]
    if gone:
        print(f"skipped, {' and '.join(gone)} not there; set WARDROUND_DATA", file=sys.stderr)
    return not gone


def need(benchmark: str, *packs: str, quick: bool) -> None:
    """Leave without a figure where packs that a benchmark needs are not there."""
    if not are_there(*packs):
        finish(benchmark, {**conditions(), "skipped": list(packs)}, [], quick=quick)
