"""The folder of a run: what was asked, what happened round by round, and the models."""

import contextlib
import csv
import fcntl
import io
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from server.checkpoint import HEADER, Checkpoint, read_checkpoint, write_checkpoint
from server.files import append, disk_errors, remove_unfinished, write_atomic
from server.run_files import run_path
from shared.errors import RunError
from shared.job import JobSpec, parse_job
from shared.metric_spec import metric_names

if TYPE_CHECKING:
    from shared.arrays import Layout  # with PyTorch, which the gateway has no need of

_CHECKPOINT = "checkpoint.safetensors"
_LOCK_ATTEMPTS, _LOCK_PAUSE = 5, 0.02  # seconds
_PACKAGES = ("wardround", "flwr", "torch", "monai", "torchmetrics", "numpy")


class RunFolder:
    """One execution of a job on disk.

    `job.json`, `run.json`, `metrics.csv` (federation), `sites.csv` (per site), `events.jsonl`,
    `checkpoint.safetensors`, and at the end `model.safetensors` and `best.safetensors`.
    """

    def __init__(self, path: Path, job: JobSpec) -> None:
        self.path = path
        self.job = job
        metrics = metric_names(job)
        self._columns = {
            "metrics.csv": ("round", "sites", "train_loss", "seconds", "bytes", *metrics),
            "sites.csv": ("round", "site", "phase", "examples", "train_loss", "seconds", "bytes", *metrics),
        }

    @classmethod
    def create(cls, out: Path, job: JobSpec, name: str | None = None, project: str = "") -> "RunFolder":
        """Make a new folder below `out`, named after the job and the time if not otherwise.

        Args:
            out: Folder of run folders.
            job: What is asked.
            name: Of the run.
            project: Whose run it is, at a coordinator.

        Raises:
            RunError: The folder can't be written, or the name is none of a run.
        """
        path = run_path(out, name or run_name(job))
        with disk_errors(out):
            path.mkdir(parents=True)
        run = cls(path, job)
        write_atomic(path / "job.json", job.canonical().encode())
        for table, columns in run._columns.items():
            write_atomic(path / table, _csv_text([columns]).encode())
        run.describe(
            status="running",
            started=_now(),
            job=json.loads(job.canonical()),
            digest=job.digest(),
            **({"project": project} if project else {}),
            **_environment(),
        )
        return run

    @classmethod
    def open(cls, path: Path, job: JobSpec | None = None) -> "RunFolder":
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

    @classmethod
    def read(cls, path: Path) -> "RunFolder":
        """Open an existing run to look at it.

        Raises:
            RunError: There is no run.
        """
        try:
            job = parse_job(json.loads((path / "job.json").read_text(encoding="utf-8")), path / "job.json")
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"is not the folder of a run ({error})", where=path) from None
        return cls(path, job)

    @property
    def status(self) -> str:
        """What the run is doing: "interrupted" where it says "running" and nobody is at work on it."""
        return status_at(self.path)

    def last_round(self) -> int:
        """Return the number of the last round whose metrics are written, 0 before the first."""
        with (self.path / "metrics.csv").open(encoding="utf-8", newline="") as file:
            return max((int(row[0]) for row in csv.reader(file) if row and row[0].isdigit()), default=0)

    def has_checkpoint(self) -> bool:
        """Say whether there is something to go on from."""
        return (self.path / _CHECKPOINT).exists()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out of the folder.

        Raises:
            RunError: Another process is at work in it.
        """
        with disk_errors(self.path):
            file = (self.path / ".lock").open("w")
        with file:
            if not _lock(file.fileno()):
                raise RunError("another process is at work on this run", where=self.path)
            yield

    def has_begun(self) -> bool:
        """Say whether a round may have been done: the first checkpoint is written before any."""
        if (self.path / _CHECKPOINT).exists():
            return True
        return len(self._text("metrics.csv").splitlines()) > 1

    def describe(self, **entries: Any) -> None:
        """Add entries to `run.json`."""
        content = {**self.read_description(), **entries}
        write_atomic(self.path / "run.json", (json.dumps(plain(content), indent=2) + "\n").encode())

    def finish(self, **entries: Any) -> None:
        """Mark the run as finished, so that it is not resumed."""
        self.describe(status="finished", finished=_now(), **entries)

    def read_description(self) -> dict[str, Any]:
        """Return what `run.json` says, nothing where it doesn't exist yet."""
        return _description(self.path)

    def event(self, kind: str, **entries: Any) -> None:
        """Add one line to `events.jsonl`."""
        line = json.dumps(plain({"time": _now(), "event": kind, **entries}))
        append(self.path / "events.jsonl", line + "\n", sync=False)  # nothing is resumed from it

    def count_events(self, kind: str) -> int:
        """Return how many events of a kind the log has, those of earlier processes included."""
        return sum(json.loads(line)["event"] == kind for line in self._text("events.jsonl").splitlines())

    def rounds_missed(self) -> dict[str, int]:
        """Return in how many rounds of training each site was late, of the sites that ever were."""
        lines = [json.loads(line) for line in self._text("events.jsonl").splitlines()]
        missed: dict[str, set[int]] = {}
        for line in lines:
            if line["event"] == "site_late" and line.get("phase") not in ("describe", "evaluate", "test"):
                missed.setdefault(line["site"], set()).add(line["round"])
        return {site: len(rounds) for site, rounds in sorted(missed.items())}

    def add_rows(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows to `metrics.csv` or `sites.csv`; missing and undefined values stay empty."""
        columns = self._columns[name]
        cells = [[_cell(row.get(column)) for column in columns] for row in rows]
        append(self.path / name, _csv_text(cells), sync=True)

    def bytes_sent(self) -> dict[str, int]:
        """Return the bytes that each site has sent over all rounds: updates and metric states."""
        sent: dict[str, int] = {}
        for row in csv.DictReader(self._text("sites.csv").splitlines()):
            sent[row["site"]] = sent.get(row["site"], 0) + int(row["bytes"] or 0)
        return sent

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint, after everything else of its round."""
        write_checkpoint(self.path / _CHECKPOINT, checkpoint, self.job.digest())

    def load(self) -> Checkpoint:
        """Read the checkpoint; drop what a kill left behind, and the rows of rounds that it does not know.

        Raises:
            RunError: The checkpoint or a table is missing or can't be used.
        """
        checkpoint = read_checkpoint(self.path / _CHECKPOINT, self.job.digest())
        written = checkpoint.round - (checkpoint.unjudged is not None)
        for name, columns in self._columns.items():
            rows = [
                row
                for row in csv.reader(self._text(name).splitlines())
                if len(row) == len(columns) and row[0].isdigit() and int(row[0]) <= written
            ]
            write_atomic(self.path / name, _csv_text([columns, *rows]).encode())
        events = self._text("events.jsonl")
        write_atomic(self.path / "events.jsonl", events[: events.rfind("\n") + 1].encode())
        remove_unfinished(self.path)
        return checkpoint

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise RunError(f"can't be read ({error.strerror})", where=self.path / name) from None

    def save_model(self, name: str, layout: "Layout", vector: NDArray[np.float32], round_: int) -> Path:
        """Write a model as named tensors; returns the file."""
        import safetensors.torch  # noqa: PLC0415  (with PyTorch)

        path = self.path / f"{name}.safetensors"
        header = {"job": self.job.digest(), "layout": layout.digest(), "round": round_}
        # One key: safetensors writes several in an order that changes from process to process.
        metadata_ = {HEADER: json.dumps(header, sort_keys=True)}
        write_atomic(path, safetensors.torch.save(layout.state_dict(vector), metadata_))
        return path


def status_at(path: Path) -> str:
    """Return the status of the run in a folder; see `RunFolder.status`."""
    status = str(_description(path).get("status", "unknown"))
    return "interrupted" if status == "running" and not _is_locked(path) else status


def interrupted(runs: Path) -> set[str]:
    """Return the names of the runs whose processes have died; those that can't be read are left out."""
    names = set()
    for path in runs.glob("*/run.json"):
        with contextlib.suppress(RunError, OSError, ValueError, AttributeError):
            if status_at(path.parent) == "interrupted":
                names.add(path.parent.name)
    return names


def _description(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content


def _is_locked(path: Path) -> bool:
    """Say whether a process is at work in a folder; who looks waits for nobody."""
    with disk_errors(path):
        file = (path / ".lock").open("a")
    with file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _lock(file: int) -> bool:
    """Lock a file, if nobody has it; who only looks whether it is locked has it for a moment."""
    for attempt in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt < _LOCK_ATTEMPTS - 1:
                time.sleep(_LOCK_PAUSE)
        else:
            return True
    return False


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


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
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return result.stdout.strip() or None
