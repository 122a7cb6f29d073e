"""A run of a project over a real coordinator: which sites it reaches, and what its people are shown."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from client.training.device import open_device
from client.work.warm_networks import Workshop
from server.audit.log import operator_audit
from server.folder.coordinator import login_command
from server.folder.login import load_login, log_in
from server.registry.access import open_registry
from server.registry.people import People
from server.runs.remote import RemoteCoordinator
from shared.errors import WardroundError
from simulate.federation.light_nodes import LightHost, LightNode
from simulate.federation.processes import LocalFederation

pytestmark = pytest.mark.slow

make_host = partial(LightHost, workshop=Workshop(open_device("cpu")), turn=threading.Lock())


@pytest.fixture(scope="module")
def federation(tiny_data: Path, tmp_path_factory) -> Iterator[LocalFederation]:
    """Give alpha, beta and gamma in the project 'lung', delta in 'default'; gamma alone shows its figures."""
    with ExitStack() as stack:
        running = stack.enter_context(LocalFederation(tmp_path_factory.mktemp("projects")))
        for site in ("alpha", "beta", "gamma", "delta"):
            folder = running.enrol(site, {"discs": tiny_data})
            if site != "gamma":
                file = folder / "site.toml"
                text = file.read_text(encoding="utf-8").replace('figures_for = "project"', "")
                file.write_text(text, encoding="utf-8")
            stack.enter_context(LightNode(folder, make_host))
        with open_registry(running.folder / "coordinator") as registry:
            registry.add_project("lung")
            for site in ("alpha", "beta", "gamma"):
                registry.join_project("lung", "site", site)
                registry.leave_project("default", "site", site)
        running.await_online({"alpha", "beta", "gamma", "delta"})
        yield running


@pytest.fixture
def ada(
    federation: LocalFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RemoteCoordinator]:
    """Log a researcher of the project 'lung' in."""
    folder = federation.folder / "coordinator"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    words = login_command(folder).split()
    with closing(People(folder / "registry.sqlite", operator_audit(folder))) as people:
        log_in(words[2], words[4], people.add_person("ada", "researcher", projects=["lung"]))
        yield RemoteCoordinator(load_login())
        people.remove_person("ada")


def test_a_run_reaches_its_projects_sites_and_hears_of_no_others(federation, ada, tiny_job, tmp_path):
    name = ada.submit(tiny_job(strategy_min_sites=3, job_rounds=1))
    assert list(ada.follow(name))[-1].kind == "run_finished"
    folder = federation.folder / "coordinator" / "runs" / name
    for file in ("events.jsonl", "sites.csv"):
        assert "delta" not in (folder / file).read_text(encoding="utf-8"), file
    details = ada.look(name)
    assert details.row.project == "lung"
    assert set(details.description["sites"]) == {"alpha", "beta", "gamma"}
    assert details.description["sites"]["gamma"]["examples"]
    assert details.description["sites"]["alpha"] == details.description["sites"]["beta"] == {}
    rows = (ada.fetch(name, tmp_path) / "sites.csv").read_text(encoding="utf-8").splitlines()[1:]
    numbers = {row.split(",")[1]: row.split(",")[3] for row in rows if row.split(",")[2] == "train"}
    assert numbers["gamma"]
    assert (numbers["alpha"], numbers["beta"]) == ("", "")


def test_the_sites_of_another_project_are_not_there_for_a_run(federation, ada, tiny_job):
    job = tiny_job(strategy_min_sites=4, strategy_round_timeout=1.0)
    name = ada.submit(job)
    list(ada.follow(name))
    row = ada.look(name).row
    assert row.status == "failed"  # four sites are online, three of them are its project's
    others = federation.runs()
    with pytest.raises(WardroundError, match="which project"):
        others.submit(job)
    name = others.submit(tiny_job(strategy_min_sites=1, job_rounds=1), "default")
    list(others.follow(name))
    assert set(others.look(name).description["sites"]) == {"delta"}
    assert name not in [row.name for row in ada.list()]
