"""The folder of a run as whoever looks at it reads it: what was asked, what happened, and the models.

Simulation and deployment write the same folder (`server/runs/folder.py`), by the same rules of a run's life
(`server/runs/life.py`). Hospitals read copies of it.
"""

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self, get_args

from shared.errors import RunError, WardroundError
from shared.files import is_locked
from shared.job.schema import JobSpec, parse_job

Status = Literal["queued", "waiting", "running", "finished", "failed", "stopped", "interrupted"]
AT_WORK: tuple[Status, ...] = ("waiting", "running")
GOING: tuple[Status, ...] = ("queued", *AT_WORK)
ENDED: tuple[Status, ...] = tuple(status for status in get_args(Status) if status not in GOING)

JOB, ABOUT, EVENTS = "job.json", "run.json", "events.jsonl"
ROUNDS, SITES, PARTICIPATION = "metrics.csv", "sites.csv", "participation.jsonl"
TEST = "test.json"
REHEARSAL, PATIENTS = "rehearsal", "patients.safetensors"  # what only a rehearsal sees
CHECKPOINT, MODEL, BEST = "checkpoint.safetensors", "model.safetensors", "best.safetensors"
SIMULATION = "simulation.json"  # how the hospitals of a rehearsal were made
START = "start"  # folder with the weights that the job names by start_sha256
LOCK = ".lock"
HEADER = "wardround"  # key of the metadata of our safetensors files
FORMAT = 1
"""Number of the form of a run's folder; `run.json` and the checkpoint name it."""
_NOT_TRAINING = ("describe", "evaluate", "test", "statement")


def of_round(round_: int) -> str:
    """Return the name of the file with the model of a round, where a job keeps those of the last ones."""
    return f"round-{round_}.safetensors"


class RunRecord:
    """What the folder of a run says.

    `job.json`, `run.json`, `metrics.csv` (federation), `sites.csv` (per site), `participation.jsonl` (who
    took part), `events.jsonl`, `checkpoint.safetensors`, and at the end `test.json` (the metric states of the
    test), `model.safetensors` and `best.safetensors`.
    """

    def __init__(self, path: Path, job: JobSpec) -> None:
        self.path = path
        self.job = job

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open an existing run.

        Raises:
            RunError: There is no run, or it is one of another version of Wardround.
        """
        try:
            about = description_of(path)
            check_format(about.get("format"), path)
            job = parse_job(json.loads((path / JOB).read_text(encoding="utf-8")), path / JOB)
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"is not the folder of a run ({error})", where=path) from None
        return cls(path, job)

    @property
    def status(self) -> str:
        """What the run is doing, see `status_of`."""
        return status_of(self.path)

    def read_description(self) -> dict[str, Any]:
        """Return what `run.json` says, nothing where it doesn't exist yet."""
        return description_of(self.path)

    def last_round(self) -> int:
        """Return the number of the last round whose metrics are written, 0 before the first."""
        with (self.path / ROUNDS).open(encoding="utf-8", newline="") as file:
            return max((int(row[0]) for row in csv.reader(file) if row and row[0].isdigit()), default=0)

    def has_checkpoint(self) -> bool:
        """Say whether there is something to go on from."""
        return (self.path / CHECKPOINT).exists()

    def has_begun(self) -> bool:
        """Say whether a round may have been done: the first checkpoint is written before any."""
        return self.has_checkpoint() or len(self.text(ROUNDS).splitlines()) > 1

    def table(self, name: str) -> list[dict[str, str]]:
        """Return the rows of `metrics.csv` or `sites.csv`, by column.

        Raises:
            RunError: The table can't be read.
        """
        return list(csv.DictReader(self.text(name).splitlines()))

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of `events.jsonl`, those of earlier processes included.

        Raises:
            RunError: The log can't be read.
        """
        for line in self.text(EVENTS).splitlines():
            yield json.loads(line)

    def count_events(self, kind: str) -> int:
        """Return how many events of a kind the log has."""
        return sum(line["event"] == kind for line in self.events())

    def rounds_missed(self) -> dict[str, int]:
        """Return in how many rounds of training each site was late, of the sites that ever were."""
        missed: dict[str, set[int]] = {}
        for line in self.events():
            if line["event"] == "site_late" and line.get("phase") not in _NOT_TRAINING:
                missed.setdefault(line["site"], set()).add(line["round"])
        return {site: len(rounds) for site, rounds in sorted(missed.items())}

    def bytes_sent(self) -> dict[str, int]:
        """Return the bytes that each site has sent over all rounds: updates and metric states."""
        sent: dict[str, int] = {}
        for row in self.table(SITES):
            sent[row["site"]] = sent.get(row["site"], 0) + int(row["bytes"] or 0)
        return sent

    def text(self, name: str) -> str:
        """Return the content of a file.

        Raises:
            RunError: It can't be read.
        """
        try:
            return (self.path / name).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise RunError(f"can't be read ({error.strerror})", where=self.path / name) from None


def sum_file(round_: int) -> str:
    """Return the name of the file with a round's sum, where a job asks that it can be checked."""
    return f"round-{round_:06d}.sum"


def check_format(found: object, where: Path) -> None:
    """Check that a run's file is of a form that this version of Wardround knows.

    Args:
        found: Its number; nothing where the file is from before there were numbers.
        where: The file.

    Raises:
        RunError: It is of a later one.
    """
    if isinstance(found, int) and found > FORMAT:
        problem = f"was written by a later version of Wardround (form {found}; this one reads {FORMAT})"
        raise RunError(problem, where=where, remedy="Upgrade Wardround here.")


def description_of(path: Path) -> dict[str, Any]:
    """Return what the `run.json` of a folder says, nothing where there is none.

    Raises:
        OSError: It can't be read.
        ValueError: It is not a JSON object.
    """
    try:
        content = json.loads((path / ABOUT).read_bytes())
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{ABOUT} is not an object")  # noqa: TRY004 (as where it is not JSON)
    return content


def stamp_of(file: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever a file does, as a new one takes its place; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def status_of(path: Path) -> str:
    """Return the status of the run in a folder.

    A run that says "running" or "waiting" and on which nobody is at work is "interrupted": its process was
    killed.
    """
    status = str(description_of(path).get("status", "unknown"))
    return "interrupted" if status in AT_WORK and not is_locked(path / LOCK) else status


def interrupted(runs: Path) -> set[str]:
    """Return the names of the runs whose processes have died; those that can't be read are left out."""
    names = set()
    for path in runs.glob(f"*/{ABOUT}"):
        with contextlib.suppress(WardroundError, OSError, ValueError):
            if status_of(path.parent) == "interrupted":
                names.add(path.parent.name)
    return names


def left_waiting(runs: Path) -> set[str]:
    """Return the names of the runs that say that they wait, whether or not a process is at work on them."""
    names = set()
    for path in runs.glob(f"*/{ABOUT}"):
        with contextlib.suppress(WardroundError, OSError, ValueError):
            if description_of(path.parent).get("status") == "waiting":
                names.add(path.parent.name)
    return names
