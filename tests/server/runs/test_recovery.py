"""Which runs go on by themselves after the SuperLink's end."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from server.runs import recovery
from server.runs.control import RunDetails, RunRow
from server.runs.folder import RunFolder
from shared.job.schema import JobSpec
from shared.run_folder import interrupted


class Link:
    """A SuperLink that serves, and has been started a number of times."""

    starts = 1

    async def wait_healthy(self) -> None:
        """Return at once."""


class Runs:
    """The runs of a folder; remembers which of them were resumed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.resumed: asyncio.Queue[str] = asyncio.Queue()

    def list(self) -> list[RunRow]:
        return [self._row(path.parent) for path in sorted(self._folder.glob("*/run.json"))]

    def look(self, name: str) -> RunDetails:
        return RunDetails(self._row(self._folder / name), RunFolder.read(self._folder / name).job, {})

    def resume(self, name: str) -> None:
        self.resumed.put_nowait(name)

    def _row(self, path: Path) -> RunRow:
        return RunRow(path.name, RunFolder.read(path).status, 1, 2, "", "", "", "")


@pytest.fixture
def run_folders(tmp_path: Path, tiny_job: Any) -> Any:
    job: JobSpec = tiny_job()

    def make(name: str, status: str = "running") -> RunFolder:
        run = RunFolder.create(tmp_path, job, name)
        run.describe(status=status)
        return run

    return make


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[set[str]]:
    """Give what each look at the runs finds; the next look comes at once."""
    found: asyncio.Queue[set[str]] = asyncio.Queue()

    def look(folder: Path) -> set[str]:
        found.put_nowait(seen := interrupted(folder))
        return seen

    monkeypatch.setattr(recovery, "interrupted", look)
    monkeypatch.setattr(recovery, "_LOOK", 0.01)
    monkeypatch.setattr(recovery, "_REVIEW", 0.01)
    return found


def test_a_run_whose_process_died_with_the_superlink_goes_on_and_one_left_before_waits(
    run_folders, tmp_path, looks
):
    run_folders("left-yesterday")
    run_folders("stopped-by-a-person", "stopped")
    link, runs = Link(), Runs(tmp_path)
    run = run_folders("in-the-middle")

    async def watched() -> list[str]:
        with run.lock():  # as its process does
            watching = asyncio.create_task(recovery.Recovery(link, runs, tmp_path).watch())  # type: ignore[arg-type]
            for _ in range(3):
                assert await looks.get() == {"left-yesterday"}
        link.starts += 1  # the lock is free: the process has died before anybody looked
        resumed = [await runs.resumed.get()]
        watching.cancel()
        while not runs.resumed.empty():
            resumed.append(runs.resumed.get_nowait())
        return resumed

    assert asyncio.run(watched()) == ["in-the-middle"]


def test_a_run_whose_process_alone_was_killed_says_so(run_folders, tmp_path, looks):
    async def reason() -> str:
        with (run := run_folders("in-the-middle")).lock():  # as its process does
            watching = asyncio.create_task(recovery.Recovery(Link(), Runs(tmp_path), tmp_path).watch())  # type: ignore[arg-type]
            for _ in range(2):
                assert await looks.get() == set()
        while not (said := run.read_description().get("reason")):
            await asyncio.sleep(0.01)
        watching.cancel()
        return str(said)

    assert "killed" in asyncio.run(reason())
    assert interrupted(tmp_path) == {"in-the-middle"}


def test_a_damaged_run_folder_hides_no_other(run_folders, tmp_path):
    run_folders("left")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    assert interrupted(tmp_path) == {"left"}


def test_a_run_that_waited_when_the_coordinator_ended_goes_on(run_folders, tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "_LOOK", 0.01)
    run_folders("left-yesterday")
    run_folders("waits", "waiting")
    runs = Runs(tmp_path)

    async def resumed() -> str:
        watching = asyncio.create_task(recovery.Recovery(Link(), runs, tmp_path).watch())  # type: ignore[arg-type]
        name = await runs.resumed.get()
        watching.cancel()
        return name

    assert asyncio.run(resumed()) == "waits"
    assert runs.resumed.empty()
