"""Runs of a coordinator on its own machine: submit, list, follow, stop, resume, fetch."""

import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx

from server.audit.trail import Append
from server.registry.people import Role
from server.registry.projects import Projects, choose_project
from server.registry.store import DEFAULT_PROJECT, REGISTRY
from server.runs.control import Priority, RunDetails, RunRow, UnknownRunError, parse_event
from server.runs.event_tail import EventTail
from server.runs.events import Event
from server.runs.file_copies import chunks, file_names, open_file, run_path, write_copy
from server.runs.folder import RunFolder, run_name
from server.runs.kept_rows import KeptRows
from server.runs.life import note_stopped, put_into_queue, take_out_of_queue
from server.runs.removal import remove_run
from server.runs.visibility import FILTERED, WITHHELD, Figures
from server.runs.waiting import shown_waiting
from server.superlink.superlink import is_running, socket_of
from shared.clock import utc_text
from shared.errors import RunError, WardroundError
from shared.flower.runs import Runs
from shared.job.schema import JobSpec
from shared.run_folder import AT_WORK, JOB, SITES, RunRecord, description_of
from shared.text.paths import without_folders

_LOOK = 0.2  # seconds between looks at what a run has written
_STOP = 120.0  # seconds in which the process of a run that is stopped must have ended
_REASON = 200  # characters of why a run can't be read
_RESTART = 30.0  # seconds in which a SuperLink that ended is there again
Answer = TypeVar("Answer")


class Coordinator:
    """The runs of one coordinator; implements `RunControl`.

    Args:
        runs: Folder of the run folders.
        connect: Gives a new connection to the SuperLink where it is now.
        audit: Writes who did what, before it is done.
        researcher: Who submits; the sites' policies ask for the name. Empty names nobody.
        projects: Those to which a new run may belong.
        see: The projects whose runs there are, for whom this works; None is all of them.
        role: Of whom this works for; it says what is shown of single hospitals. None is somebody who can read
            the folders, and is shown all.
    """

    def __init__(
        self,
        runs: Path,
        connect: Callable[[], Runs],
        audit: Append,
        researcher: str = "",
        *,
        projects: Sequence[str] = (DEFAULT_PROJECT,),
        see: Collection[str] | None = None,
        role: Role | None = None,
    ) -> None:
        self._runs = runs
        self._connect = connect
        self._audit = audit
        self._researcher = researcher
        self._projects = projects
        self._see = see
        self.role = role

    def submit(self, job: JobSpec, project: str | None = None, priority: Priority = "normal") -> str:
        """Put a new run into the queue, which begins it once there is room; returns its name.

        Args:
            job: What is asked.
            project: To which the run belongs; None is the only one.
            priority: In the queue.

        Raises:
            RegistryError: The project is none that it may belong to, or it is not clear which is meant.
            RunError: Its folder can't be written.
        """
        name, project = run_name(job), choose_project(project, self._projects)
        self._audit("run-submitted", run=name, job=job.digest(), project=project, priority=priority)
        RunFolder.create(
            self._runs,
            job,
            name,
            project,
            status="queued",
            researcher=self._researcher,
            priority=priority,
            queue={"since": utc_text("milliseconds")},
        )
        return name

    def resume(self, name: str) -> None:
        """Put a run that was stopped, failed or was interrupted into the queue; it stays its researcher's.

        Raises:
            RunError: There is no such run, it has finished, or it is running.
        """
        run = self.open(name)
        if (status := run.status) in AT_WORK:
            raise _nothing_to_resume(name, status)
        with (folder := RunFolder.read(run.path)).lock():
            about = folder.read_description()
            if (status := str(about.get("status", ""))) in ("queued", "finished"):
                raise _nothing_to_resume(name, status)
            _require_own(run, about)
            self._audit("run-resumed", run=name, job=run.job.digest())
            # Who was broken off, by no person, keeps its place before those that came later.
            since = about["started"] if status in AT_WORK else utc_text("milliseconds")
            put_into_queue(folder, since, waits=bool(about.get("waiting")))

    def begin(self, name: str) -> int:
        """Let Flower begin a run that was taken out of the queue, or go on with it; returns its number of it.

        Raises:
            RunError: The SuperLink does not do it.
        """
        run = RunRecord.read(run_path(self._runs, name))
        about = run.read_description()
        before, waits = about.get("flower_run"), "waits" in (about.get("queue") or {})
        if isinstance(before, int):
            self.end(before)  # a run whose process has died still runs for Flower
        person, project, resume = _researcher(run), project_of(run.path), before is not None
        asked: dict[str, Any] = {"researcher": person, "project": project, "resume": resume, "waits": waits}
        return self._ask(lambda flower: flower.start(run.job.canonical(), name, **asked))

    def failure(self, number: int) -> str | None:
        """Return why Flower says that a run has ended early, see `Runs.failure`."""
        return self._ask(lambda flower: flower.failure(number))

    def end(self, number: int) -> bool:
        """End a run of Flower's; says whether there was anything to end."""
        return self._ask(lambda flower: flower.stop(number))

    def stop(self, name: str) -> None:
        """Stop a run; it can be resumed.

        Raises:
            RunError: There is no such run, or it is not running.
        """
        run = self.open(name)
        _require_own(run, run.read_description())
        self._audit("run-stopped", run=name, job=run.job.digest())
        if self._leaves_queue(run):
            return
        number = run.read_description().get("flower_run")
        if not (isinstance(number, int) and self.end(number)) and run.status != "interrupted":
            raise RunError(f"is {run.status}", where=name)
        end = time.monotonic() + _STOP
        while run.status in AT_WORK and time.monotonic() < end:
            time.sleep(_LOOK)
        note_stopped(RunFolder.read(run.path), self._who)

    def remove(self, name: str) -> None:
        """Remove a run that has ended, with its models, for good.

        Raises:
            RunError: There is no such run, it goes on, or its folder can't be removed.
        """
        run = self.open(name)
        if (status := run.status) in AT_WORK:
            raise _goes_on(name, status)
        with (folder := RunFolder.read(run.path)).lock():
            if folder.read_description().get("status") == "queued":
                raise _goes_on(name, "queued")
            self._audit("run-removed", run=name, job=run.job.digest())
            remove_run(run.path)

    @property
    def _who(self) -> str:
        return self._researcher or "an operator, on the coordinator's machine"

    def _leaves_queue(self, run: RunRecord) -> bool:
        """Take a run out of the queue, if it is in it; one that begins at this moment is waited for."""
        while run.status == "queued":
            try:
                return take_out_of_queue(RunFolder.read(run.path), self._who)
            except RunError:
                time.sleep(_LOOK)
        return False

    def open(self, name: str) -> RunRecord:
        """Return a run's folder by its name.

        Raises:
            RunError: There is no such run.
        """
        path = run_path(self._runs, name)
        if not path.is_dir() or not self._sees(path):
            raise UnknownRunError("there is no such run", where=name, remedy="`wardround runs` lists them.")
        return RunRecord.read(path)

    def list(self, kept: KeptRows | None = None) -> list[RunRow]:
        """Return all runs, the newest first.

        Args:
            kept: Rows of the last time, for who asks again: what has not changed since is not read.
        """
        folders = [path.parent for path in self._runs.glob(f"*/{JOB}")]
        kept = KeptRows() if kept is None else kept
        rows = [kept.row(folder, self._listed) for folder in folders if self._sees(folder)]
        return sorted(rows, key=lambda row: row.started, reverse=True)

    def look(self, name: str) -> RunDetails:
        """Return a run by its name.

        Raises:
            RunError: There is no such run.
        """
        run = self.open(name)
        description = run.read_description()
        return RunDetails(self._row(run), run.job, self.figures(run).description(description))

    def follow(self, name: str) -> Iterator[Event]:
        """Yield what happened in a run, and what happens, until it ends.

        Raises:
            RunError: There is no such run.
        """
        tail = EventTail(self.open(name))
        while True:
            lines, ended = tail.read()
            for _, line in lines:
                if event := parse_event(line):
                    yield event
            if ended:
                return
            time.sleep(_LOOK)

    def fetch(self, name: str, out: Path) -> Path:
        """Copy a run's folder below `out` and check its models; returns the copy.

        Raises:
            RunError: There is no such run, the copy exists, or a model is not what the run wrote.
        """
        run = self.open(name)
        self._audit("run-fetched", run=name, job=run.job.digest())
        return write_copy(out, name, ((file, self._content(run, file)) for file in self.file_names(run)))

    def file_names(self, run: RunRecord) -> Sequence[str]:
        """Return the names of a run's files, as far as they may be seen."""
        withheld = () if self.figures(run).everything else WITHHELD
        return [name for name in file_names(run.path) if name not in withheld]

    def open_file(self, run: RunRecord, name: str) -> BinaryIO:
        """Open a file of a run for reading, as it may be seen.

        Raises:
            RunError: There is no such file.
        """
        figures = self.figures(run)
        if name in WITHHELD and not figures.everything:
            raise RunError(f"has no file {name!r}", where=run.path.name)
        file = open_file(run.path, name)
        if name not in FILTERED or figures.everything:
            return file
        with file:
            seen = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
            seen.writelines(figures.file(name, file, lambda: run.table(SITES)))
        return seen

    def _content(self, run: RunRecord, name: str) -> Iterator[bytes]:
        with self.open_file(run, name) as file:
            yield from chunks(file, file.seek(0, os.SEEK_END))

    def figures(self, run: RunRecord) -> Figures:
        """Return what may be seen of a run."""
        return Figures(run.read_description(), self.role)

    def _listed(self, folder: Path) -> RunRow:
        """Return a line for any run, also for one that another version of Wardround has left."""
        try:
            return self._row(RunRecord.read(folder))
        except (WardroundError, OSError, ValueError) as error:
            reason = error.problem if isinstance(error, WardroundError) else without_folders(str(error))
            return RunRow(folder.name, "unreadable", 0, 0, "", "", project_of(folder), reason[:_REASON])

    def _row(self, run: RunRecord) -> RunRow:
        about = run.read_description()
        return RunRow(
            name=run.path.name,
            status=run.status,
            round=run.last_round(),
            rounds=run.job.job.rounds,
            started=str(about.get("started", "")),
            researcher=_researcher(run),
            project=project_of(run.path),
            reason=shown_waiting(about, run.status) or Figures(about, self.role).reason(about.get("reason")),
        )

    def _sees(self, folder: Path) -> bool:
        """Say whether a run is one of those that there are here: the one place that tells projects apart."""
        return self._see is None or project_of(folder) in self._see

    def _ask(self, question: Callable[[Runs], Answer]) -> Answer:
        """Ask the SuperLink; one that is being started again, with another socket, is waited for.

        Raises:
            RunError: It does not answer.
        """
        end = time.monotonic() + _RESTART
        while True:
            try:
                with self._connect() as flower:
                    return question(flower)
            except (httpx.ConnectError, _StartingError) as error:  # it has not heard the question
                if time.monotonic() > end:
                    raise (error if isinstance(error, RunError) else _no_answer(error)) from None
                time.sleep(_LOOK)
            except httpx.HTTPError as error:
                raise _no_answer(error) from None


def open_coordinator(folder: Path, audit: Append) -> Coordinator:
    """Return the runs of the coordinator that runs in a folder of this machine.

    Args:
        folder: Made by `wardround server init`.
        audit: Writes who did what.

    Raises:
        RunError: None runs there.
    """
    _require_coordinator(folder)
    with closing(Projects(folder / REGISTRY, audit)) as registry:
        projects = registry.project_names()
    return Coordinator(folder / "runs", lambda: connect_here(folder / "superlink"), audit, projects=projects)


def connect_here(superlink: Path) -> Runs:
    """Return a connection to the SuperLink of this machine, where its folder says that it is now.

    Raises:
        RunError: No coordinator runs there, or its SuperLink is being started.
    """
    _require_coordinator(superlink.parent)
    try:
        socket = socket_of(superlink)
    except FileNotFoundError:
        raise _StartingError(
            "Flower's SuperLink is being started",
            where=superlink.parent,
            remedy="Ask again in a moment; superlink/console.log says more if it does not come up.",
        ) from None
    return Runs(socket)


class _StartingError(RunError):
    """A coordinator is at work, and nothing says yet where its SuperLink is."""


def _require_coordinator(folder: Path) -> None:
    if not is_running(folder / "superlink"):
        raise RunError(
            "no coordinator runs here",
            where=folder,
            remedy="Name its folder with --dir, and start it if it is stopped.",
        )


def _no_answer(error: Exception) -> RunError:
    remedy = "It is started again by itself; superlink/console.log of the coordinator says more."
    return RunError(f"Flower's SuperLink did not do what it was asked ({error})", remedy=remedy)


def _nothing_to_resume(name: str, status: str) -> RunError:
    return RunError(f"is {status}; there is nothing to resume", where=name)


def _goes_on(name: str, status: str) -> RunError:
    return RunError(f"is {status}", where=name, remedy=f"First `wardround stop {name}`.")


def _require_own(run: RunRecord, about: Mapping[str, Any]) -> None:
    """Check that a coordinator has begun a run, or has it in its queue: it was not put into the folder."""
    if "priority" not in about and not isinstance(about.get("flower_run"), int):
        raise RunError("was not started by this coordinator", where=run.path.name)


def project_of(folder: Path) -> str:
    """Return the project of a run; an empty name, which no project has, while nothing says it yet."""
    try:
        about = description_of(folder)
    except (OSError, ValueError):
        about = {}
    return str(about.get("project") or DEFAULT_PROJECT) if about else ""  # runs are older than projects


def _researcher(run: RunRecord) -> str:
    return str(run.read_description().get("researcher") or "")
