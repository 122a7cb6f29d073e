"""People at another machine log in, submit, watch, stop, resume and fetch."""

import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psutil
import pytest

import wardround as python
from server.audit.log import operator_audit
from server.folder.coordinator import load_settings, login_command
from server.folder.login import load_login, log_in
from server.registry.people import People
from server.runs.folder import RunFolder
from server.runs.remote import RemoteCoordinator
from shared.audit.log import Entry
from shared.audit.verify import entries, verify
from shared.pki.certificates import load_key
from shared.wire.https import CoordinatorError
from simulate.federation.processes import LocalFederation
from tests import cli
from tests.jobs import job_text

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[3]
ROLES = {"ada": "researcher", "bob": "researcher", "vera": "viewer", "otto": "operator"}


@pytest.fixture(scope="module")
def federation(tiny_data: Path, tmp_path_factory) -> Iterator[LocalFederation]:
    """One site, whose policy lets ada alone submit."""
    with LocalFederation(tmp_path_factory.mktemp("people")) as running:
        folder = running.enrol("alpha", {"discs": tiny_data})
        file = folder / "site.toml"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("\n[policy]\n", '\n[policy]\nresearchers = ["ada"]\n'), encoding="utf-8")
        running.start("alpha")
        running.await_sites()
        yield running


@pytest.fixture(scope="module")
def tokens(federation: LocalFederation) -> dict[str, str]:
    folder = federation.folder / "coordinator"
    with closing(People(folder / "registry.sqlite", operator_audit(folder))) as people:
        return {name: people.add_person(name, role) for name, role in ROLES.items()}


@pytest.fixture
def wardround(
    federation: LocalFederation, tokens: dict[str, str], tmp_path: Path
) -> Callable[..., CompletedProcess[str]]:
    """Return a function that runs a command as a person on a machine of their own."""

    def run(person: str, *arguments: object, stdin: str = "") -> CompletedProcess[str]:
        home = tmp_path / person
        home.mkdir(exist_ok=True)
        environment = {"COLUMNS": "200", "XDG_CONFIG_HOME": str(home / "config")}
        return cli.wardround(*arguments, stdin=stdin, cwd=home, environment=environment)

    return run


@pytest.fixture
def remote(
    federation: LocalFederation, tokens: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], RemoteCoordinator]:
    """Return a function that logs a person in."""

    def make(person: str) -> RemoteCoordinator:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / person / "config"))
        words = login_command(federation.folder / "coordinator").split()
        assert log_in(words[2], words[4], tokens[person]) == (person, ROLES[person])
        return RemoteCoordinator(load_login())

    return make


def audit(federation: LocalFederation, event: str) -> list[Entry]:
    return [entry for entry in entries(federation.folder / "coordinator" / "audit") if entry.event == event]


def told(ended: CompletedProcess[str]) -> dict[str, Any]:
    """Return the one object that a command with `--json` prints."""
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_a_researcher_s_day(federation, tokens, wardround, tiny_job_file, tmp_path):
    job_file = tiny_job_file
    job_file.write_text(job_text(strategy_min_sites=1))
    command = login_command(federation.folder / "coordinator").split()[1:]
    logged_in = wardround("ada", *command, stdin=tokens["ada"] + "\n")
    assert logged_in.returncode == 0, logged_in.stderr
    assert "logged in as ada (researcher)" in logged_in.stdout
    kept = tmp_path / "ada" / "config" / "wardround" / "login.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    submitted = wardround("ada", "submit", job_file, "--watch")
    assert submitted.returncode == 0, submitted.stderr
    name = submitted.stdout.splitlines()[0]
    assert "round 3/3" in submitted.stdout
    assert "federation" in submitted.stdout  # the table of results
    listed = wardround("ada", "runs").stdout
    assert name in listed
    assert "ada" in listed
    [row] = told(wardround("ada", "runs", "--json"))["runs"]
    assert (row["name"], row["status"], row["round"], row["researcher"]) == (name, "finished", 3, "ada")
    *events, watched = map(json.loads, wardround("ada", "watch", name, "--json").stdout.splitlines())
    assert [one["round"] for one in events if one["event"] == "round_finished"] == [1, 2, 3]
    assert events[-1]["event"] == "run_finished"
    assert watched["run"] == row
    assert watched["description"]["status"] == "finished"
    followed = told(wardround("ada", "track", name, "--follow", "--to", "tensorboard:tb", "--json"))
    assert (followed["run"], followed["to"]) == (name, ["tensorboard:tb"])
    assert (tmp_path / "ada" / "tb" / name).is_dir()
    assert wardround("ada", "fetch", name, "--out", "copy").returncode == 0
    copy, run = tmp_path / "ada" / "copy" / name, federation.folder / "coordinator" / "runs" / name
    for file in ("model.safetensors", "run.json", "metrics.csv", "events.jsonl"):
        assert (copy / file).read_bytes() == (run / file).read_bytes()
    again = wardround("ada", "fetch", name, "--out", "copy")
    assert again.returncode == 2
    assert "exists already" in again.stderr

    # Who submitted it reached the site; what the site's log says is kept at the coordinator.
    seen = [entry.fields for entry in entries(federation.folder / "alpha" / "audit")]
    assert {fields["researcher"] for fields in seen if "job" in fields} == {"ada"}
    key = load_key(federation.folder / "alpha" / "keys" / "site.key").public_key()
    heads = [entry.fields["head"] for entry in audit(federation, "site-head")]
    assert len(heads) == 4  # three rounds and the test
    assert [verify(federation.folder / "alpha" / "audit", key, str(head)) for head in heads] == [[]] * 4

    submission = audit(federation, "run-submitted")[-1].fields
    assert (submission["person"], submission["run"]) == ("ada", name)
    assert json.loads((run / "run.json").read_text())["digest"] == submission["job"]
    logs = federation.log("coordinator") + "".join(
        path.read_text() for path in (federation.folder / "coordinator" / "audit").iterdir()
    )
    assert tokens["ada"] not in logs
    assert "HTTP Request" not in logs  # httpx is quiet


def test_the_same_day_in_python(remote, tiny_job_file, tmp_path, capsys):
    remote("ada")
    tiny_job_file.write_text(job_text(strategy_min_sites=1, job_rounds=1))
    submitted = python.submit(tiny_job_file)
    submitted.wait()
    assert "round 1/1" in capsys.readouterr().out
    assert submitted.status == "finished"
    assert [event.kind for event in submitted.events()][-1] == "run_finished"
    run = submitted.fetch(tmp_path / "copy")
    assert (run.name, run.status, run.job.rounds) == (submitted.name, "finished", 1)
    assert run.path == tmp_path / "copy" / submitted.name


def test_a_site_refuses_whom_its_policy_does_not_name(remote, tiny_job):
    bob = remote("bob")
    name = bob.submit(tiny_job(strategy_min_sites=1))
    events = list(bob.follow(name))
    assert any("policy.researchers does not allow 'bob'" in str(event.data.get("reason")) for event in events)
    assert bob.look(name).row.status == "failed"


def test_roles(federation, remote, tiny_job, hold_images):
    ada, bob, vera, otto = (remote(name) for name in ROLES)
    job = tiny_job(strategy_min_sites=1, job_rounds=2, job_seed=6)
    in_training = hold_images("alpha", "train")
    with pytest.raises(CoordinatorError, match="refused"):
        vera.submit(job)
    name = ada.submit(job)
    watching = vera.follow(name)
    in_training.meet(federation.processes["alpha"].pid)
    for stranger in (vera, bob):
        with pytest.raises(CoordinatorError, match="refused"):
            stranger.stop(name)
    otto.stop(name)
    assert [event.kind for event in watching].count("run_finished") == 0
    assert vera.look(name).row.status == "stopped"
    assert audit(federation, "run-stopped")[-1].fields["person"] == "otto"
    in_training.let_go()
    otto.resume(name)
    assert list(ada.follow(name))[-1].kind == "run_finished"
    row = next(row for row in vera.list() if row.name == name)
    assert (row.status, row.researcher) == ("finished", "ada")  # whose run it is, also for the sites


def test_a_second_run_waits_in_the_queue_and_a_killed_coordinator_does_not_lose_it(
    federation, remote, tiny_job, hold_images
):
    ada, in_training = remote("ada"), hold_images("alpha", "train")
    job = partial(tiny_job, strategy_min_sites=1, job_rounds=1)
    first = ada.submit(job(job_seed=11))
    in_training.meet(federation.processes["alpha"].pid)
    second = ada.submit(job(job_seed=12), priority="low")
    for event in ada.follow(second):
        assert (event.kind, event.data["place"]) == ("run_queued", 1)
        break
    row = ada.look(second).row
    assert (row.status, row.reason) == ("queued", "place 1: 1 run of ada is at work")
    with pytest.raises(CoordinatorError, match="only operators may put a run before all others"):
        ada.submit(job(job_seed=13), priority="high")
    federation.processes["coordinator"].kill()
    federation.processes["coordinator"].wait()
    in_training.let_go()
    federation.start_coordinator()
    assert list(ada.follow(second))[-1].kind == "run_finished"
    assert ada.look(first).row.status == "interrupted"


def test_a_run_is_removed_by_whose_it_is(federation, remote, tiny_job):
    runs = federation.folder / "coordinator" / "runs"
    ended = {"status": "finished", "researcher": "ada", "priority": "normal"}
    made = [RunFolder.create(runs, tiny_job(), name, "default", **ended).path for name in ("one", "two")]
    with pytest.raises(CoordinatorError, match="only who submitted a run"):
        remote("bob").remove("one")
    ada = remote("ada")
    ada.remove("one")
    removed = cli.wardround("runs", "remove", "two", "--yes", "--json", "--dir", runs.parent)
    assert told(removed)["run"] == "two"
    assert not any(path.exists() for path in made)
    assert not {"one", "two"} & {row.name for row in ada.list()}
    assert audit(federation, "run-removed")[0].fields["person"] == "ada"


def test_counts_that_a_hospital_tells_are_asked_before_a_job(federation, tokens, wardround):
    site, coordinator = federation.folder / "alpha", federation.folder / "coordinator"
    rows = [f"p{number},{'fm'[number % 2]},{20 + number % 60}" for number in range(600)]
    (site / "cases.csv").write_text("\n".join(["patient,sex,age", *rows]))
    text = (site / "site.toml").read_text(encoding="utf-8")
    allowed = '[policy.counts.cases]\ncolumns = { sex = ["f", "m"] }\nbands = { age = [50.0] }\n'
    (site / "site.toml").write_text(f'{text}\n[datasets.cases]\nmanifest = "cases.csv"\n{allowed}')
    tell = ("client", "counts", "tell", "cases", "--dir", site, "--yes", "--json")
    leaves = told(cli.wardround(*tell))
    for person in ("ada", "bob"):
        command = login_command(coordinator).split()[1:]
        assert wardround(person, *command, stdin=tokens[person] + "\n").returncode == 0
    [listed] = told(wardround("ada", "counts", "--json"))["datasets"]
    assert (listed["dataset"], listed["site"]) == ("cases", "alpha")
    [women] = told(wardround("ada", "counts", "cases", "--where", "sex=f", "--json"))["sites"]
    assert abs(women["patients"] - 300) < 5 * leaves["deviation"]
    assert "about" in wardround("bob", "counts", "cases", "--where", "sex=f", "--where", "age=50-").stdout
    assert "tells of no 'sex' 'x'" in wardround("ada", "counts", "cases", "--where", "sex=x").stderr
    assert "no hospital tells counts of 'case'" in wardround("ada", "counts", "case").stderr
    (site / "site.toml").write_text((site / "site.toml").read_text() + 'projects = ["elsewhere"]\n')
    assert told(cli.wardround(*tell))["tables"] == leaves["tables"]
    assert told(wardround("ada", "counts", "--json"))["datasets"] == []
    operator = ("counts", "--dir", coordinator, "--json")
    assert len(told(cli.wardround(*operator))["datasets"]) == 1
    assert cli.wardround("client", "counts", "withdraw", "cases", "--dir", site).returncode == 0
    assert told(cli.wardround(*operator))["datasets"] == []
    assert audit(federation, "counts-told")[0].fields["site"] == "alpha"
    (site / "site.toml").write_text(text, encoding="utf-8")


def test_a_superlink_that_comes_back_with_another_socket_is_found(federation, remote, tiny_job):
    ada, socket = remote("ada"), federation.superlink
    os.kill(superlink(federation), signal.SIGKILL)
    name = ada.submit(tiny_job(strategy_min_sites=1, job_rounds=1, strategy_round_timeout=60.0))
    assert list(ada.follow(name))[-1].kind == "run_finished"
    assert federation.superlink != socket


def superlink(federation: LocalFederation) -> int:
    for process in psutil.Process(federation.processes["coordinator"].pid).children():
        if "flower-superlink" in " ".join(process.cmdline()):
            return process.pid
    raise AssertionError("no SuperLink runs")


def test_the_coordinators_log_is_whole(federation):
    folder = federation.folder / "coordinator"
    assert verify(folder / "audit", load_key(folder / "audit.key").public_key()) == []
    assert load_settings(folder).limits.people.connections_each == 64
