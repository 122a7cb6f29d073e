"""Which runs are at work at once, and in which order the others begin."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from server.files import write_atomic
from server.folder.limits import RunLimits
from server.runs.folder import RunFolder
from server.runs.life import at_work
from server.runs.local import Coordinator, connect_here
from server.runs.places import BackInQueueError, Places, WaitingRoom
from server.runs.run_queue import RunQueue
from shared.errors import RunError
from shared.files import Lock
from shared.flower import RunStopped
from tests.full_disk import full_disk
from tests.jobs import make_job

PROJECTS = {"brain": ("alpha", "beta"), "heart": ("beta", "gamma"), "lung": ("delta",)}


class Link:
    """A SuperLink that serves, and has been started a number of times."""

    starts = 1


class Flower:
    """Flower's control interface, over a dictionary of what it was asked to start."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.waiting: list[str] = []
        self.stopped: list[int] = []
        self.failed: dict[int, str] = {}

    def __enter__(self) -> "Flower":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, job: str, name: str, *, waits: bool, **_: object) -> int:
        self.started.append(name)
        if waits:
            self.waiting.append(name)
        return len(self.started)

    def stop(self, number: int) -> bool:
        self.stopped.append(number)
        return True

    def failure(self, number: int) -> str | None:
        return self.failed.get(number)


class Place:
    """A coordinator's runs without its service; each look of its queue is asked for."""

    def __init__(self, folder: Path, limits: RunLimits) -> None:
        self.folder, self.limits, self.flower, self.link = folder, limits, Flower(), Link()
        self._held: dict[str, ExitStack] = {}
        self.start_service()

    def start_service(self) -> None:
        """Begin as a coordinator does that was killed: with the folders alone."""
        self.places = Places(self.folder, self.limits, PROJECTS.__getitem__)
        self.queue = RunQueue(self.link, self.of(""), self.folder, self.places)  # type: ignore[arg-type]

    def of(self, person: str) -> Coordinator:
        return Coordinator(
            self.folder,
            lambda: self.flower,  # type: ignore[arg-type, return-value]
            lambda *_, **__: "",
            person,
            projects=tuple(PROJECTS),
        )

    def submit(self, seed: int, person: str = "ada", project: str = "brain", priority: Any = "normal") -> str:
        return self.of(person).submit(make_job(job_name=f"n{seed}", job_seed=seed), project, priority)

    def work(self, name: str) -> RunFolder:
        """Be the process of a run."""
        run, stack = RunFolder.open(self.folder / name), ExitStack()
        stack.enter_context(at_work(run, resume=False, from_queue=True, flower_run=1, queue=None))
        self._held[name] = stack
        return run

    def end(self, name: str, error: Exception | None = None) -> None:
        with suppress(BackInQueueError), self._held.pop(name):
            if error:
                raise error

    def close(self) -> None:
        for stack in self._held.values():
            stack.close()

    def look(self) -> list[str]:
        """Let the queue look once, and the runs that it begins come up; returns them by the seed."""
        known = len(self.flower.started)
        self.queue.look()
        begun = self.flower.started[known:]
        for name in begun:
            self.work(name)
        return [name.split("-")[0] for name in begun]

    def reasons(self) -> dict[str, str]:
        rows = self.of("").list()
        return {row.name.split("-")[0]: row.reason for row in rows if row.status == "queued"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    with ExitStack() as stack:

        def make(**limits: int) -> Place:
            most = {"at_once": 9, "each_person": 9, "each_project": 9, "each_site": 9}
            made = Place(tmp_path / "runs", RunLimits(**(most | limits)))
            stack.callback(made.close)
            return made

        yield make


def test_no_more_begin_than_may_and_the_others_say_where_they_are(place):
    at = place(at_once=2)
    names = [at.submit(number) for number in range(4)]
    assert at.look() == ["n0", "n1"]
    assert at.look() == []
    assert at.reasons() == {"n2": "place 1: 2 runs are at work", "n3": "place 2: 2 runs are at work"}
    told = [line for line in RunFolder.read(at.folder / names[3]).events() if line["event"] == "run_queued"]
    assert [(line["place"], line["because"]) for line in told] == [(2, "2 runs are at work")]
    at.of("").stop(names[2])  # who is taken out of it leaves it
    at.end(names[0])
    assert at.look() == ["n3"]
    assert RunFolder.read(at.folder / names[2]).status == "stopped"
    at.of("").resume(names[2])
    assert at.look() == []
    assert at.reasons() == {"n2": "place 1: 2 runs are at work"}


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("each_person", "1 run of ada is at work"),
        ("each_project", "1 run of the project brain is at work"),
        ("each_site", "alpha serves 1 run"),
    ],
)
def test_one_person_project_or_site_holds_up_nobody_else(place, limit, why):
    at = place(**{limit: 1})
    at.submit(1)
    at.submit(2)
    at.submit(3, "bob", "lung")
    assert at.look() == ["n1", "n3"]
    at.look()
    assert at.reasons() == {"n2": f"place 1: {why}"}


def test_the_order_is_by_priority_then_by_who_has_least_then_by_idle_sites_then_by_age(place):
    at = place(at_once=1)
    first = at.submit(0)
    assert at.look() == ["n0"]
    at.submit(1)
    at.submit(2, "ada", "lung")  # its site is idle
    at.submit(3, "bob")
    at.submit(4, "eve", priority="low")
    at.submit(5, "ada", priority="high")
    at.look()
    order = sorted(at.reasons(), key=lambda name: at.reasons()[name])
    assert order == ["n5", "n3", "n2", "n1", "n4"]
    at.end(first)
    assert at.look() == ["n5"]


def test_a_killed_coordinator_and_a_killed_superlink_lose_no_queued_run(place):
    at = place(at_once=2)
    names = [at.submit(number) for number in range(4)]
    at.queue.look()  # two are handed to Flower, and their processes never come up
    at.start_service()
    assert at.look() == ["n0", "n1"]
    at.look()
    assert at.reasons() == {"n2": "place 1: 2 runs are at work", "n3": "place 2: 2 runs are at work"}
    at.end(names[0])
    at.queue.look()
    at.queue.forget_starts()  # the SuperLink ended
    assert at.look() == ["n2"]


def test_a_run_that_flower_can_t_begin_says_why(place, monkeypatch):
    monkeypatch.setattr("server.runs.run_queue._FROM_FLOWER", 0.0)
    at = place()
    name = at.submit(1)
    at.queue.look()
    at.flower.failed[1] = "failed: /srv/coordinator/runs/one/run.json: is full\n  Make room."
    at.queue.look()
    row = at.of("").look(name).row
    assert (row.status, row.reason) == ("failed", "could not be started: failed: run.json: is full")
    assert RunFolder.read(at.folder / name).read_description()["remedy"] == "Make room."


def test_a_run_that_takes_long_to_come_up_says_so_and_is_not_lost(place, monkeypatch, caplog):
    for name in ("_FROM_FLOWER", "_SLOW"):
        monkeypatch.setattr(f"server.runs.run_queue.{name}", 0.0)
    at = place()
    name = at.submit(1)
    for _ in range(4):  # the first hands it to Flower
        at.queue.look()
    row = at.of("").look(name).row
    assert row.status == "queued"
    assert row.reason.startswith("about to begin: its process takes more than")
    assert len(caplog.messages) == 1
    at.work(name)
    at.queue.look()
    assert (at.of("").look(name).row.status, at.flower.started) == ("running", [name])


def test_a_superlink_that_is_being_started_is_waited_for(place, tmp_path, monkeypatch):
    monkeypatch.setattr("server.runs.local._LOOK", 0.0)
    at, superlink, asked = place(), tmp_path / "superlink", []
    superlink.mkdir()
    with pytest.raises(RunError, match="no coordinator runs here"):
        connect_here(superlink)

    def connect() -> Flower:
        asked.append(superlink)
        if len(asked) < 3:
            connect_here(superlink)
        return at.flower

    with Lock(superlink / "lock", wait=False):
        with pytest.raises(RunError, match="SuperLink is being started"):
            connect_here(superlink)
        assert Coordinator(at.folder, connect, lambda *_, **__: "").end(7)  # type: ignore[arg-type]
    assert (len(asked), at.flower.stopped) == (3, [7])


def test_a_run_stopped_while_it_comes_up_does_not_begin(place):
    at = place()
    name = at.submit(1)
    at.queue.look()
    at.of("").stop(name)
    with pytest.raises(RunStopped):
        at.work(name)
    at.look()
    assert RunFolder.read(at.folder / name).status == "stopped"


def test_a_run_that_can_t_be_read_or_is_gone_holds_up_no_other(place, caplog):
    at = place(at_once=1)
    gone, broken = at.submit(1), at.submit(2)
    at.queue.look()  # the first is handed to Flower
    shutil.rmtree(at.folder / gone)
    (at.folder / broken / "job.json").write_text("{")
    at.submit(3)
    assert at.look() + at.look() + at.look() == ["n3"]
    assert [line.args[0] for line in caplog.records] == [broken]  # said once


def test_a_full_disk_is_said_once_and_runs_begin_when_there_is_room(place, caplog):
    at = place()
    at.submit(1)
    with full_disk():
        for _ in range(3):
            at.queue.look()
    assert at.flower.started == []
    assert len(caplog.records) == 1
    assert "is passed over" in caplog.text
    assert at.look() == ["n1"]


def test_a_run_stopped_and_resumed_between_two_looks_begins_again(place):
    at = place()
    name = at.submit(1)
    at.queue.look()
    at.of("").stop(name)
    at.of("").resume(name)
    assert at.look() == ["n1"]
    assert at.flower.stopped == [1]  # whose process is still to come up


def test_who_waits_for_sites_holds_no_place_and_comes_back_where_there_is_none(place):
    at = place(at_once=1, waiting=1, each_person=1)
    waits = at.submit(1)
    assert at.look() == ["n1"]
    run = RunFolder.read(at.folder / waits)
    run.describe(status="waiting", waiting={"since": "2026-11-26T08:00:00+00:00", "sites": {}})
    works, third = at.submit(2), at.submit(3)
    assert at.look() == []
    assert at.reasons()["n2"] == "place 1: 1 run waits for sites"
    at.limits = RunLimits(at_once=1, waiting=2)
    at.start_service()
    assert at.look() == ["n2"]
    with pytest.raises(BackInQueueError) as no_place:
        at.places.go_to_work(run)
    at.end(waits, no_place.value)
    assert RunFolder.read(at.folder / waits).status == "queued"
    at.end(works)
    assert at.look() == ["n1"]  # it was there before the third
    at.look()
    assert at.reasons() == {third.split("-")[0]: "place 1: 1 run is at work"}


def test_a_run_that_has_to_wait_goes_on_in_a_process_that_does_nothing_else(place):
    at = place(at_once=1, each_person=1, waiting=1)
    name = at.submit(1)
    assert (at.look(), at.flower.waiting) == (["n1"], [])
    with pytest.raises(BackInQueueError) as waits:
        at.places.begin_to_wait()
    at.end(name, waits.value)
    works = at.submit(2, "bob")
    assert sorted(at.look()) == ["n1", "n2"]  # it needs no place
    assert at.flower.waiting == [name]
    room = WaitingRoom(at.folder, at.limits, PROJECTS.__getitem__)
    room.begin_to_wait()
    with pytest.raises(BackInQueueError) as begins:
        room.go_to_work(RunFolder.read(at.folder / name))
    at.end(name, begins.value)
    assert at.look() == []
    at.end(works)
    assert (at.look(), at.flower.waiting) == (["n1"], [name])
    events = (at.folder / name / "events.jsonl").read_text()
    assert (events.count('"opened"'), events.count('"resumed"')) == (1, 0)


def test_who_was_waiting_when_the_coordinator_ended_goes_on_to_wait(place):
    at = place()
    name = at.submit(1)
    at.look()
    run = RunFolder.read(at.folder / name)
    at.close()
    run.describe(status="waiting", waiting={"since": "2026-11-26T08:00:00+00:00", "sites": {}})
    at.start_service()
    at.of("").resume(name)
    assert (at.look(), at.flower.waiting) == (["n1"], [name])


def test_the_waiting_runs_of_one_person_hold_up_nobody_else(place):
    at = place(each_person=1, waiting=1)
    waits = at.submit(1)
    assert at.look() == ["n1"]
    RunFolder.read(at.folder / waits).describe(status="waiting", waiting={"since": "", "sites": {}})
    at.submit(2)
    at.submit(3, "bob")
    assert at.look() == ["n3"]
    at.look()
    assert at.reasons() == {"n2": "place 1: 1 run waits for sites"}


def test_a_submission_that_can_t_be_written_leaves_nothing(place, monkeypatch):
    at = place()

    def full(*_: object) -> None:
        raise RunError("can't be written (No space left on device)")

    monkeypatch.setattr("server.runs.folder.write_atomic", full)
    with pytest.raises(RunError, match="No space left"):
        at.submit(1)
    assert list(at.folder.iterdir()) == []


@pytest.mark.parametrize("written", range(4))
def test_a_submission_that_is_killed_leaves_a_list_that_can_be_read(place, monkeypatch, written):
    at = place()
    left = [write_atomic] * written

    def killed(*given: Any) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()(*given)

    monkeypatch.setattr("server.runs.folder.write_atomic", killed)
    monkeypatch.setattr("server.runs.folder.shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        at.submit(1)
    monkeypatch.undo()
    at.submit(2)
    assert at.look() == ["n2"]
    assert [row.status for row in at.of("").list()][:1] == ["running"]


def test_a_run_whose_table_is_gone_is_listed_as_unreadable(place):
    at = place()
    (at.folder / at.submit(1) / "metrics.csv").unlink()
    [row] = at.of("").list()
    assert (row.status, "metrics.csv" in row.reason) == ("unreadable", True)
