"""Projects: who sees which runs, and which sites those reach."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from server.registry import store
from server.registry.enrolment import Registry
from server.registry.store import RegistryError
from server.runs.folder import RunFolder
from shared.wire.https import CoordinatorError
from tests.server.gateway.test_runs_api import Desk


def quiet(event: str, **fields: str) -> None:
    """Take the place of an audit log."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    Registry.create(tmp_path / "registry.sqlite")
    with closing(Registry(tmp_path / "registry.sqlite", quiet)) as made:
        yield made


def members(registry: Registry, project: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = next(item for item in registry.projects() if item.name == project)
    return found.people, found.sites


def test_who_is_added_belongs_to_the_only_project_or_to_those_named(registry: Registry) -> None:
    registry.add_person("ada", "researcher")
    registry.invite("alpha")
    assert members(registry, "default") == (("ada",), ("alpha",))
    registry.add_project("lung")
    with pytest.raises(RegistryError, match=r"--project: default, lung"):
        registry.add_person("bob", "viewer")
    with pytest.raises(RegistryError, match="which project"):
        registry.invite("beta")
    with pytest.raises(RegistryError, match="no project 'lnug'"):
        registry.invite("beta", projects=["lnug"])
    token = registry.add_person("bob", "viewer", projects=["lung"])
    registry.invite("beta", projects=["lung", "default"])
    registry.invite("alpha")  # anew: it stays where it was
    registry.add_person("otto", "operator")  # sees everything in any case
    assert members(registry, "lung") == (("bob",), ("beta",))
    assert members(registry, "default") == (("ada",), ("alpha", "beta"))
    assert registry.sites_of("lung") == {"beta"}
    person = registry.person_of(token)
    assert person is not None
    assert person.projects == ("lung",)
    registry.invite("beta", projects=["lung"])  # named: there and nowhere else
    assert members(registry, "default") == (("ada",), ("alpha",))


def test_membership_changes_later_and_no_name_inherits_what_was_anothers(registry: Registry) -> None:
    registry.add_project("lung")
    registry.add_person("ada", "researcher", projects=["default"])
    registry.invite("ada", projects=["lung"])  # a site may have the name of a person
    registry.join_project("lung", "person", "ada")
    registry.leave_project("default", "person", "ada")
    assert members(registry, "lung") == (("ada",), ("ada",))
    with pytest.raises(RegistryError, match="does not belong"):
        registry.leave_project("default", "person", "ada")
    with pytest.raises(RegistryError, match="no site 'bda'"):
        registry.join_project("lung", "site", "bda")
    with pytest.raises(RegistryError, match="ada still belong"):
        registry.remove_project("lung")
    registry.remove_person("ada")
    registry.add_person("ada", "viewer", projects=["default"])
    assert members(registry, "lung") == ((), ("ada",))
    registry.leave_project("lung", "site", "ada")
    registry.remove_project("lung")
    with pytest.raises(RegistryError, match="before"):  # its runs would be seen by the new one's people
        registry.add_project("lung")
    with pytest.raises(RegistryError, match="no project"):
        registry.join_project("lung", "person", "ada")


def test_everybody_in_a_registry_from_before_belongs_to_one_project(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite"
    Registry.create(path)
    with closing(Registry(path, quiet)) as registry:
        token = registry.add_person("ada", "researcher")
        registry.invite("alpha")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:  # as version 1 has written it
        for table in ("person_project", "site_project", "project"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 1")
    opened: list[Registry] = []
    threads = [threading.Thread(target=lambda: opened.append(Registry(path, quiet))) for _ in range(4)]
    for thread in threads:  # service and commands may meet the old file at once
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    for registry in opened:
        person = registry.person_of(token)
        assert person is not None
        assert person.projects == ("default",)
        assert members(registry, "default") == (("ada",), ("alpha",))
        registry.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == store.VERSION
    with closing(sqlite3.connect(path.with_name(f"{path.name}.version-1"))) as db:  # as it was
        assert db.execute("PRAGMA user_version").fetchone()[0] == 1


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = Desk(tmp_path / "coordinator")
    with closing(made.trail), closing(made.people):
        made.people.add_project("lung")
        made.people.add_project("brain")
        yield made
        made.cut()


def make_run(desk: Desk, tiny_job, name: str, project: str) -> RunFolder:
    made = RunFolder.create(desk.folder / "runs", tiny_job(), name, project)
    made.describe(flower_run=1, researcher="ada")
    made.event("run_started", rounds=3, sites=2)
    return made


def test_a_run_is_seen_by_its_project_alone(desk: Desk, tiny_job, tmp_path: Path) -> None:
    make_run(desk, tiny_job, "lung-1", "lung").describe(status="finished", models={})
    make_run(desk, tiny_job, "brain-1", "brain").describe(status="finished", models={})
    ada, bob = desk.log_in("ada", "researcher", "lung"), desk.log_in("bob", "viewer", "brain")
    nobody, otto = desk.log_in("nora", "researcher", "default"), desk.log_in("otto", "operator")
    assert [row.name for row in ada.list()] == ["lung-1"]
    assert [row.name for row in bob.list()] == ["brain-1"]
    assert nobody.list() == []
    assert {row.name: row.project for row in otto.list()} == {"lung-1": "lung", "brain-1": "brain"}
    calls = (
        ("GET", "runs/{}"),
        ("GET", "runs/{}/events"),
        ("GET", "runs/{}/files"),
        ("GET", "runs/{}/files/run.json"),
        ("POST", "runs/{}/stop"),
        ("POST", "runs/{}/resume"),
    )
    for method, path in calls:
        answers = [
            ada._client.request(method, f"{desk.url}/v1/{path.format(name)}")
            for name in ("brain-1", "no-run")
        ]
        assert [answer.status_code for answer in answers] == [404, 404], path
        assert len({answer.text for answer in answers}) == 1, path  # nothing tells one from the other
    with pytest.raises(CoordinatorError, match="no such run"):
        ada.fetch("brain-1", tmp_path / "copy")
    bob.fetch("brain-1", tmp_path / "bob")
    otto.fetch("brain-1", tmp_path / "otto")
    desk.people.join_project("brain", "person", "ada")
    assert {row.name for row in ada.list()} == {"lung-1", "brain-1"}  # at once, with the same token
    desk.people.leave_project("brain", "person", "ada")
    with pytest.raises(CoordinatorError, match="no such run"):
        ada.look("brain-1")


def test_a_run_from_before_belongs_to_the_project_of_everybody_from_before(desk: Desk, tiny_job) -> None:
    make_run(desk, tiny_job, "old-1", "")
    half = desk.folder / "runs" / "half-1"
    half.mkdir()
    (half / "job.json").write_text(tiny_job().canonical(), encoding="utf-8")  # nothing says whose it is, yet
    assert [row.name for row in desk.log_in("ada", "viewer", "default").list()] == ["old-1"]
    assert desk.log_in("bob", "viewer", "lung").list() == []


def test_a_new_run_needs_a_project_of_the_caller(desk: Desk, tiny_job) -> None:
    both = desk.log_in("ada", "researcher", "lung", "brain")
    with pytest.raises(CoordinatorError, match="brain, lung"):
        both.submit(tiny_job())
    with pytest.raises(CoordinatorError, match="'default' is not a project of yours"):
        both.submit(tiny_job(), "default")
    none = desk.log_in("bob", "researcher", "lung")
    desk.people.leave_project("lung", "person", "bob")
    with pytest.raises(CoordinatorError, match="you belong to no project"):
        none.submit(tiny_job())
    with pytest.raises(CoordinatorError, match="brain, default, lung"):
        desk.log_in("otto", "operator").submit(tiny_job())
    assert not any((desk.folder / "runs").iterdir())
    assert "run-submitted" not in desk.events()
