"""Runs that are removed, by hand and once they are old or take too much room."""

from datetime import UTC, datetime, timedelta

import pytest

from server.folder.limits import RetentionTable
from server.runs.folder import RunFolder
from server.runs.local import Coordinator
from server.runs.removal import Retention
from shared.errors import RunError

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def runs(tmp_path, tiny_job):
    """Return a function that makes a run that ended so many days ago, of so many megabytes."""

    def make(name: str, days: float, megabytes: int = 0, status: str = "finished") -> None:
        run = RunFolder.create(tmp_path, tiny_job(), name, status=status, priority="normal")
        run.describe(finished=(NOW - timedelta(days=days)).isoformat())
        (run.path / "model.safetensors").write_bytes(bytes(megabytes * 10**6))

    return make


def left(folder) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != ".removed"}


def removes(folder, said: list[str]) -> Coordinator:
    return Coordinator(folder, lambda: pytest.fail("not asked"), lambda event, **_: said.append(event))


def test_what_is_too_old_goes_and_what_goes_on_stays(runs, tmp_path):
    said: list[str] = []
    runs("old", 40)
    runs("new", 20)
    runs("queued", 400, status="queued")
    Retention(tmp_path, removes(tmp_path, said), RetentionTable(days=30)).look(NOW)
    assert left(tmp_path) == {"new", "queued"}
    assert said == ["run-removed"]


def test_the_oldest_go_until_there_is_room(runs, tmp_path):
    for days in (4, 3, 2, 1):
        runs(f"run-{days}", days, megabytes=2)
    kept = RetentionTable(gigabytes=0.005)
    Retention(tmp_path, removes(tmp_path, []), kept).look(NOW)
    assert left(tmp_path) == {"run-1", "run-2"}


def test_a_run_that_goes_on_is_not_removed(runs, tmp_path):
    runs("queued", 1, status="queued")
    with pytest.raises(RunError, match="is queued"):
        removes(tmp_path, []).remove("queued")
    assert left(tmp_path) == {"queued"}


def test_what_a_killed_removal_leaves_is_no_run_takes_no_room_and_is_swept(runs, tmp_path, monkeypatch):
    runs("half", 9, megabytes=2)
    runs("kept", 3, megabytes=2)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("server.runs.removal.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        removes(tmp_path, []).remove("half")
    monkeypatch.undo()
    assert [row.name for row in removes(tmp_path, []).list()] == ["kept"]
    Retention(tmp_path, removes(tmp_path, []), RetentionTable(gigabytes=0.003)).look(NOW)
    assert left(tmp_path) == {"kept"}
    assert list((tmp_path / ".removed").iterdir()) == []


@pytest.mark.parametrize("status", ["waiting", "running"])
def test_retention_leaves_a_run_that_was_broken_off_and_may_go_on(runs, tmp_path, status):
    runs("long", 40, status=status)
    Retention(tmp_path, removes(tmp_path, []), RetentionTable(days=30)).look(NOW)
    assert left(tmp_path) == {"long"}


@pytest.mark.parametrize("what", ["remove", "resume"])
def test_what_somebody_does_to_a_run_meanwhile_is_seen(runs, tmp_path, monkeypatch, what):
    """Between the look at a run and its lock another one resumes it."""
    runs("run", 1, status="stopped")
    lock = RunFolder.lock

    def late(run: RunFolder):
        run.describe(status="queued", queue={"since": "2026-11-26T08:00:00+00:00"})
        return lock(run)

    monkeypatch.setattr(RunFolder, "lock", late)
    with pytest.raises(RunError, match="is queued"):
        getattr(removes(tmp_path, said := []), what)("run")
    assert (left(tmp_path), said) == ({"run"}, [])
    assert RunFolder.read(tmp_path / "run").read_description()["queue"] == {
        "since": "2026-11-26T08:00:00+00:00"
    }
