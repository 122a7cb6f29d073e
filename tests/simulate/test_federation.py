"""A real federation over processes and TLS: it computes what the simulation does, whatever is killed."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from server.events import Event
from shared.job import JobSpec
from simulate.federation import LocalFederation
from simulate.session import Hospitals, execute, start

pytestmark = pytest.mark.slow

SITES = ("alpha", "beta", "gamma")
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def federation(tiny_data: Path, tmp_path_factory) -> Iterator[LocalFederation]:
    with LocalFederation(tmp_path_factory.mktemp("federation")) as running:
        for site in SITES:
            running.enroll(site, {"discs": tiny_data})
            running.start(site)
        running.await_sites()
        yield running


@pytest.fixture
def simulated(federation: LocalFederation, tmp_path: Path) -> Callable[[JobSpec], Path]:
    """Return a function that simulates a job with the site.toml of the federation's own sites."""

    def run(job: JobSpec) -> Path:
        files = [federation.folder / site / "site.toml" for site in SITES]
        folder = start(job, Hospitals(files=files), tmp_path / "simulated", "cpu", baselines=False)
        execute(folder, "in-process", Console(file=io.StringIO()))
        return folder.path

    return run


def results(path: Path) -> tuple[bytes, bytes, object]:
    """What a run brought: its models and how they are judged."""
    about = json.loads((path / "run.json").read_text())
    return (path / "model.safetensors").read_bytes(), (path / "best.safetensors").read_bytes(), about["test"]


def run_folder(federation: LocalFederation, name: str) -> Path:
    return federation.folder / "coordinator" / "runs" / name


def status(federation: LocalFederation, name: str) -> str:
    return next(row.status for row in federation.runs().list() if row.name == name)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def told(federation: LocalFederation, site: str) -> dict[str, str]:
    return json.loads((federation.folder / site / "state" / "status.json").read_text())


def is_training(federation: LocalFederation, site: str) -> bool:
    status = told(federation, site)
    return status["status"] == "working" and status["detail"] == "train"


def failures(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.site, str(event.data["reason"])) for event in events if event.kind == "site_failed"]


def wardround(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wardround", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "150"},
    )


def test_it_computes_what_the_simulation_does(federation, simulated, tiny_job, tiny_job_file, tmp_path):
    coordinator = federation.folder / "coordinator"
    submitted = wardround("submit", tiny_job_file, "--dir", coordinator, "--watch")
    assert submitted.returncode == 0, submitted.stderr
    name = submitted.stdout.splitlines()[0]
    assert "round 3/3" in submitted.stdout
    assert "federation" in submitted.stdout  # the table of results
    fetched = wardround("fetch", name, "--dir", coordinator, "--out", tmp_path)
    assert fetched.returncode == 0, fetched.stderr
    assert results(tmp_path / name) == results(simulated(tiny_job()))
    assert name in wardround("runs", "--dir", coordinator).stdout


def test_a_killed_worker_and_a_killed_site_cost_nothing_but_time(federation, simulated, tiny_job):
    job = tiny_job(job_rounds=2, training_local_epochs=150)
    runs = federation.runs()
    name = runs.submit(job)
    until(lambda: is_training(federation, "alpha"))
    os.kill(worker_of(federation, "alpha"), signal.SIGKILL)
    events = runs.follow(name)
    until(lambda: next(events).kind == "round_finished")
    until(lambda: is_training(federation, "beta"))
    federation.processes["beta"].kill()
    federation.processes["beta"].wait()
    federation.start("beta")
    assert failures(list(events)) == []
    assert status(federation, name) == "finished"
    assert results(run_folder(federation, name)) == results(simulated(job))


def worker_of(federation: LocalFederation, site: str) -> int:
    children = psutil.Process(federation.processes[site].pid).children()
    return next(child.pid for child in children if "spawn_main" in " ".join(child.cmdline()))


def test_stopped_and_killed_and_resumed_as_if_never_touched(federation, simulated, tiny_job):
    job = tiny_job(job_rounds=4)
    runs = federation.runs()
    name = runs.submit(job)
    events = runs.follow(name)
    until(lambda: next(events).kind == "round_finished")
    runs.stop(name)
    assert status(federation, name) == "stopped"

    runs.resume(name)
    events = runs.follow(name)
    until(lambda: (event := next(events)).kind == "round_finished" and event.round >= 2)
    os.kill(server_app(federation), signal.SIGKILL)
    until(lambda: status(federation, name) == "interrupted")

    runs.resume(name)
    assert list(runs.follow(name))[-1].kind == "run_finished"
    assert results(run_folder(federation, name)) == results(simulated(job))


def test_a_killed_superlink_and_a_killed_coordinator_cost_nothing_but_time(federation, simulated, tiny_job):
    job = tiny_job(job_rounds=4, training_local_epochs=100)
    name = federation.runs().submit(job)
    until(lambda: federation.runs().look(name).row.round >= 1)
    until(lambda: is_training(federation, "alpha"))
    os.kill(superlink(federation), signal.SIGKILL)
    until(lambda: federation.runs().look(name).row.round >= 2)  # by itself
    until(lambda: is_training(federation, "alpha"))
    federation.processes["coordinator"].kill()
    federation.processes["coordinator"].wait()
    federation.start_coordinator()
    until(lambda: status(federation, name) == "interrupted")
    killed = time.monotonic()
    federation.await_sites()
    assert time.monotonic() - killed < 90  # the lease of a node whose end nobody has heard of
    federation.runs().resume(name)
    assert list(federation.runs().follow(name))[-1].kind == "run_finished"
    assert results(run_folder(federation, name)) == results(simulated(job))
    until(lambda: told(federation, "alpha")["status"] == "online")


def superlink(federation: LocalFederation) -> int:
    return descendant(federation, "flower-superlink")


def server_app(federation: LocalFederation) -> int:
    return descendant(federation, "flwr-serverapp")


def descendant(federation: LocalFederation, program: str) -> int:
    """Return a process of the coordinator by its program."""
    for process in psutil.Process(federation.processes["coordinator"].pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # others end meanwhile
            if program in " ".join(process.cmdline()):
                return process.pid
    raise AssertionError(f"no {program} runs")


def test_a_site_that_never_answers_holds_nobody_up(federation, tiny_job):
    job = tiny_job(job_rounds=1, training_local_epochs=30, strategy_min_sites=2, strategy_round_timeout=6.0)
    runs = federation.runs()
    name = runs.submit(job)
    until(lambda: is_training(federation, "gamma"))
    federation.processes["gamma"].send_signal(signal.SIGSTOP)
    try:
        events = list(runs.follow(name))
    finally:
        federation.processes["gamma"].send_signal(signal.SIGCONT)
    assert failures(events)[0] == ("gamma", "no answer within 6 s")
    assert {site for site, _ in failures(events)} == {"gamma"}
    assert status(federation, name) == "finished"
    sites = (run_folder(federation, name) / "sites.csv").read_text()
    assert "1,alpha,train" in sites
    assert "1,gamma,train" not in sites
    federation.await_sites()  # it is back


def test_too_few_sites_is_said_at_once(federation, tiny_job):
    runs = federation.runs()
    name = runs.submit(tiny_job(strategy_min_sites=4, strategy_round_timeout=2.0))
    list(runs.follow(name))
    row = next(row for row in runs.list() if row.name == name)
    assert row.status == "failed"
    assert "3 sites are connected, the job needs 4" in row.reason


def test_secure_aggregation_gives_the_model_of_the_simulation(federation, simulated, tiny_job):
    job = tiny_job(job_rounds=2, privacy_secure_aggregation=True)
    runs = federation.runs()
    name = runs.submit(job)
    assert failures(list(runs.follow(name))) == []
    assert status(federation, name) == "finished"
    assert results(run_folder(federation, name)) == results(simulated(job))
