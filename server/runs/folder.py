"""The folder of a run as its own process writes it."""

import csv
import io
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import psutil
from numpy.typing import NDArray

from server.files import disk_errors, write_atomic, write_tensors
from server.runs.checkpoint import Checkpoint, on_disk, read_checkpoint, write_checkpoint
from server.runs.file_copies import run_path
from server.runs.participation import Participation, line, lines_until
from shared.clock import utc_text
from shared.errors import RunError
from shared.files import Lock, append, remove_unfinished
from shared.job.schema import JobSpec
from shared.metrics.spec import metric_names
from shared.run_folder import (
    ABOUT,
    CHECKPOINT,
    EVENTS,
    FORMAT,
    HEADER,
    JOB,
    LOCK,
    PARTICIPATION,
    ROUNDS,
    SITES,
    TEST,
    RunRecord,
    of_round,
    sum_file,
)

if TYPE_CHECKING:
    from shared.wire.packed_model import Layout  # with PyTorch, which the gateway has no need of

ROOM = ".room"
_ROOM_BYTES = 2**18
_PACKAGES = ("wardround", "flwr", "torch", "monai", "torchmetrics", "numpy")


class RunFolder(RunRecord):
    """A run that is being executed, or is about to be."""

    def __init__(self, path: Path, job: JobSpec) -> None:
        super().__init__(path, job)
        metrics = metric_names(job)
        self._columns = {
            ROUNDS: ("round", "sites", "train_loss", "seconds", "bytes", *metrics),
            SITES: ("round", "site", "phase", "examples", "train_loss", "seconds", "bytes", *metrics),
        }

    @classmethod
    def create(
        cls, out: Path, job: JobSpec, name: str | None = None, project: str = "", **entries: Any
    ) -> Self:
        """Make a new folder below `out`, named after the job and the time if not otherwise.

        Args:
            out: Folder of run folders.
            job: What is asked.
            name: Of the run.
            project: Whose run it is, at a coordinator.
            entries: For `run.json`.

        Raises:
            RunError: The folder can't be written, or the name is none of a run.
        """
        path = run_path(out, name or run_name(job))
        with disk_errors(out):
            path.mkdir(parents=True)
        run = cls(path, job)
        try:
            run._begin({"project": project} if project else {}, entries)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)  # whole or not at all: a full disk leaves no half of it
            raise
        return run

    def _begin(self, *entries: Mapping[str, Any]) -> None:
        for table, columns in self._columns.items():
            write_atomic(self.path / table, _csv_text([columns]).encode())
        write_atomic(self.path / JOB, self.job.canonical().encode())  # lists of runs show it from here on
        about: dict[str, Any] = {
            "format": FORMAT,
            "status": "running",
            "started": utc_text("milliseconds"),
            "job": json.loads(self.job.canonical()),
            "digest": self.job.digest(),
        }
        for some in entries:
            about |= some
        self.describe(**about)

    def note_machine(self) -> None:
        """Say in `run.json` which versions run it on which machine, once: those that it began with."""
        if "versions" not in self.read_description():
            self.describe(**_environment())

    @classmethod
    def open(cls, path: Path, job: JobSpec | None = None) -> Self:
        """Open an existing run, checking that it belongs to `job` where one is given.

        Raises:
            RunError: There is no run, it is of another job, or it has finished.
        """
        run = cls.read(path)
        own = run.job
        if job is not None and job.digest() != own.digest():
            raise RunError(
                f"belongs to another job (digest {own.digest()[:12]}, not {job.digest()[:12]})",
                where=path,
                remedy="Resume it without a job file, or start a new run for the changed job.",
            )
        if run.read_description().get("status") == "finished":
            raise RunError("has finished; there is nothing to resume", where=path)
        return run

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out of the folder.

        Raises:
            RunError: Another process is at work in it.
        """
        with disk_errors(self.path):
            lock = self._lock()
        with lock:
            yield

    def _lock(self) -> Lock:
        try:
            return Lock(self.path / LOCK, wait=False)
        except BlockingIOError:
            raise RunError("another process is at work on this run", where=self.path) from None

    def describe(self, **entries: Any) -> None:
        """Add entries to `run.json`."""
        content = {**self.read_description(), **entries}
        write_atomic(self.path / ABOUT, (json.dumps(plain(content), indent=2) + "\n").encode())

    def keep_room(self) -> None:
        """Keep some room on the disk for saying how the run ended: a full disk may be why."""
        with disk_errors(self.path / ROOM):
            (self.path / ROOM).write_bytes(b"\0" * _ROOM_BYTES)

    def end(self, **entries: Any) -> None:
        """Add the last entries to `run.json`, in the room that was kept for them."""
        (self.path / ROOM).unlink(missing_ok=True)
        self.describe(**entries)

    def keep_test(self, states: Mapping[str, Any]) -> None:
        """Write `test.json`: the metric states of the test, from which a report draws its figures."""
        write_atomic(self.path / TEST, (json.dumps(states, allow_nan=False) + "\n").encode())

    def keep_sum(self, round_: int, content: bytes) -> None:
        """Write the sum of a round, which anybody can check."""
        write_atomic(self.path / sum_file(round_), content)

    def event(self, kind: str, **entries: Any) -> None:
        """Add one line to `events.jsonl`."""
        line = json.dumps(plain({"time": utc_text("milliseconds"), "event": kind, **entries}))
        with disk_errors(self.path / EVENTS):
            append(self.path / EVENTS, line + "\n", sync=False)  # nothing is resumed from it

    def add_rows(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows to `metrics.csv` or `sites.csv`; missing and undefined values stay empty."""
        columns = self._columns[name]
        cells = [[_cell(row.get(column)) for column in columns] for row in rows]
        with disk_errors(self.path / name):
            append(self.path / name, _csv_text(cells), sync=True)

    def note_part(self, **entries: Any) -> None:
        """Add a line to `participation.jsonl`; that of round 0 begins it."""
        path, text = self.path / PARTICIPATION, line(**entries)
        if entries["round"] == 0 and not entries.get("test"):
            write_atomic(path, text.encode())
            return
        with disk_errors(path):
            append(path, text, sync=True)

    def participation(self) -> Participation:
        """Return who took part so far; nobody in a run that an earlier version has begun.

        Raises:
            RunError: The file can't be used.
        """
        begun = (self.path / PARTICIPATION).exists()
        return Participation.read(self.path) if begun else Participation({}, None)

    def save(self, checkpoint: Checkpoint) -> Checkpoint:
        """Write the checkpoint, after everything else of its round; returns it as `on_disk` does."""
        write_checkpoint(self.path / CHECKPOINT, checkpoint, self.job.digest())
        return on_disk(self.path / CHECKPOINT, checkpoint)

    def load(self) -> Checkpoint:
        """Read the checkpoint; drop the rows of rounds that it does not know.

        Raises:
            RunError: The checkpoint or a table is missing or can't be used.
        """
        checkpoint = read_checkpoint(self.path / CHECKPOINT, self.job.digest())
        written = checkpoint.round - (checkpoint.unjudged is not None)
        for name, columns in self._columns.items():
            rows = [
                row
                for row in csv.reader(self.text(name).splitlines())
                if len(row) == len(columns) and row[0].isdigit() and int(row[0]) <= written
            ]
            write_atomic(self.path / name, _csv_text([columns, *rows]).encode())
        if (self.path / PARTICIPATION).exists():  # runs of earlier versions have none
            kept = lines_until(self.text(PARTICIPATION), written)
            write_atomic(self.path / PARTICIPATION, kept.encode())
        return checkpoint

    def mend(self) -> None:
        """Drop what a kill left behind: half a line of the log, files that were not finished.

        Raises:
            RunError: The folder can't be written.
        """
        with disk_errors(self.path):
            remove_unfinished(self.path)
        if (self.path / EVENTS).exists():
            events = self.text(EVENTS)
            if not events.endswith("\n"):
                write_atomic(self.path / EVENTS, events[: events.rfind("\n") + 1].encode())

    def save_model(self, name: str, layout: "Layout", vector: NDArray[np.float32], round_: int) -> Path:
        """Write a model as named tensors, whole and with adapters merged into layers; returns the file."""
        import safetensors.torch  # noqa: PLC0415  (with PyTorch)

        from shared.networks.build import fixed_tensors  # noqa: PLC0415
        from shared.networks.lora import without_adapters  # noqa: PLC0415
        from shared.start_files import starts_of  # noqa: PLC0415

        path = self.path / f"{name}.safetensors"
        header = {"job": self.job.digest(), "layout": layout.digest(), "round": round_}
        # One key: safetensors writes several in an order that changes from process to process.
        metadata_ = {HEADER: json.dumps(header, sort_keys=True)}
        fixed = fixed_tensors(self.job, starts_of(self.job, self.path))
        tensors = {**fixed, **layout.state_dict(vector)}
        whole = dict(without_adapters(self.job, tensors))
        write_tensors(path, lambda file: safetensors.torch.save_file(whole, file, metadata_))
        return path

    def keep_model(self, layout: "Layout", vector: NDArray[np.float32], round_: int) -> None:
        """Write the model of a round beside those of the rounds before, of which as many stay as asked."""
        if (number := self.job.evaluation.keep_models) is None:
            return
        self.save_model(Path(of_round(round_)).stem, layout, vector, round_)
        (self.path / of_round(round_ - number)).unlink(missing_ok=True)


def run_name(job: JobSpec) -> str:
    """Return a name for a new run: the job's and the time."""
    return f"{job.job.name}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S-%f')[:-3]}"


def _csv_text(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return "" if value is None else value


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: undefined numbers become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _environment() -> dict[str, Any]:
    import torch  # noqa: PLC0415  (seconds and 180 MB, and whoever only looks at runs needs none)

    return {
        "versions": {name: metadata.version(name) for name in _PACKAGES}
        | {"python": platform.python_version()},
        "git_commit": _git_commit(),
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        },
    }


def _git_commit() -> str | None:
    """Return the commit of the checkout that this code runs from, None where it was installed otherwise."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return result.stdout.strip() or None
