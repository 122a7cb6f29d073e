"""A real federation over processes and TLS: it computes what the simulation does, whatever is killed."""

import contextlib
import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

import psutil
import pytest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.supernode.fleet_http_client import FleetHttpClient
from rich.console import Console

from server.registry.store import DEFAULT_PROJECT
from server.runs.events import Event
from server.runs.folder import RunFolder
from shared.audit.verify import entries
from shared.flower.connection import Connection
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.networks.start_weights import digest_of, match
from shared.pki.certificates import client_context, load_key
from shared.start_files import write_start
from simulate.data.phantom import make_phantom
from simulate.federation.processes import LocalFederation
from simulate.session.session import Hospitals, execute, start
from tests.cli import wardround
from tests.simulate.federation.held_sites import Barrier, Sites
from tests.simulate.session.test_survival import job as survival_job

pytestmark = pytest.mark.slow

SITES = ("alpha", "beta", "gamma")
PROCESSES = SITES[:2]  # hospitals with a service and a worker of their own
HELD = "delta"  # a site whose training waits until the test lets it go on; it has joined, and is not there
PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """Return a manifest of the sites' patients, their columns and how long they lived."""
    manifest = make_phantom("phantom-survival", tmp_path_factory.mktemp("phantom"), 1)
    text = manifest.read_text()
    for place, site in zip(("north", "south", "east"), SITES, strict=True):
        text = text.replace(f"{place},", f"{site},")
    manifest.write_text(text)
    return manifest


@pytest.fixture(scope="module")
def sites(tiny_data: Path, tables: Path, tmp_path_factory) -> Iterator[Sites]:
    """Give a federation's sites: all but those in `PROCESSES` are in this process."""
    with LocalFederation(tmp_path_factory.mktemp("federation")) as running, Sites(running) as made:
        for site in SITES:
            folder = running.enrol(site, {"discs": tiny_data, "phantom-survival": tables})
            serve_one_project(folder / "site.toml")
        running.enrol(HELD, {"discs": tiny_data}, seed=5)  # split by the job's seed, as in its simulation
        for site in PROCESSES:
            running.start(site)
        for site in set(SITES) - set(PROCESSES):
            made.start(site)
        running.await_sites()
        yield made


@pytest.fixture(scope="module")
def federation(sites: Sites) -> LocalFederation:
    return sites.federation


def serve_one_project(file: Path) -> None:
    """Let a site's policy name the project: then every message of a run has to."""
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("\n[policy]\n", f'\n[policy]\nprojects = ["{DEFAULT_PROJECT}"]\n'))


@pytest.fixture
def barrier(sites: Sites) -> Iterator[Barrier]:
    """Give a fourth site, and what holds its training."""
    sites.held[HELD] = made = Barrier()
    sites.start(HELD)
    yield made
    sites.stop(HELD)


@pytest.fixture
def simulated(federation: LocalFederation, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that simulates a job with the site.toml of the federation's own sites."""

    def run(job: JobSpec, sites: tuple[str, ...] = SITES) -> Path:
        files = [federation.folder / site / "site.toml" for site in sites]
        hospitals = Hospitals(files=files, starts=federation.folder / "coordinator" / "starts")
        folder = start(job, hospitals, tmp_path / "simulated", "cpu", baselines=False)
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


def until(condition: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def told(federation: LocalFederation, site: str) -> dict[str, str]:
    return json.loads((federation.folder / site / "state" / "status.json").read_text())


def failures(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.site, str(event.data["reason"])) for event in events if event.kind == "site_failed"]


def run(*arguments: object) -> CompletedProcess[str]:
    return wardround(*arguments, environment={"COLUMNS": "150"})


def test_it_computes_what_the_simulation_does(federation, simulated, tiny_job, tiny_job_file, tmp_path):
    coordinator = federation.folder / "coordinator"
    submitted = run("submit", tiny_job_file, "--dir", coordinator, "--watch")
    assert submitted.returncode == 0, submitted.stderr
    name = submitted.stdout.splitlines()[0]
    assert "round 3/3" in submitted.stdout
    assert "federation" in submitted.stdout  # the table of results
    fetched = run("fetch", name, "--dir", coordinator, "--out", tmp_path)
    assert fetched.returncode == 0, fetched.stderr
    assert results(tmp_path / name) == results(simulated(tiny_job()))
    assert name in run("runs", "--dir", coordinator).stdout
    whole_passport(federation, tmp_path / name)
    best = tmp_path / name / "best.safetensors"
    content = best.read_bytes()
    best.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    changed = run("verify", tmp_path / name, "--root", coordinator / "ca" / "ca.crt")
    assert changed.returncode == 2
    assert "best.safetensors: is not a model of the run" in changed.stderr


def whole_passport(federation: LocalFederation, path: Path) -> None:
    """Check that every site has signed its part in a run, by the command that anybody can type."""
    root = federation.folder / "coordinator" / "ca" / "ca.crt"
    said = run("verify", path, "--root", root, "--json")
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert {site for site, own in found["sites"].items() if own["signed"]} == set(SITES)
    assert found["run"] == path.name
    assert "model.safetensors" in found["models"]


@pytest.mark.parametrize(("task", "secure"), [("classification", False), ("generation", True)])
def test_other_tasks_are_judged_as_in_the_simulation(federation, simulated, tiny_job, task, secure):
    job = tiny_job(
        task_name=task,
        evaluation_select_best="loss",
        privacy_secure_aggregation=secure,
    )
    name = federation.runs().submit(job)
    assert failures(list(federation.runs().follow(name))) == []
    assert results(run_folder(federation, name)) == results(simulated(job))


@pytest.mark.parametrize(("lora", "secure"), [(None, False), ({"rank": 2}, True)], ids=str)
def test_a_job_starts_from_the_coordinators_file_as_in_the_simulation(
    federation, simulated, tiny_job, lora, secure
):
    weights = build_model(tiny_job(), seed=9).state_dict()
    taken = match(build_model(tiny_job()), weights).taken
    starts = federation.folder / "coordinator" / "starts"
    starts.mkdir(exist_ok=True)
    name = f"{'whole' if lora is None else 'adapted'}-{secure}".lower()
    start = {"model_start": name, "model_start_sha256": digest_of(taken), "model_lora": lora}
    job = tiny_job(job_rounds=2, privacy_secure_aggregation=secure, **start)
    missing = federation.runs().submit(job)
    until(lambda: status(federation, missing) == "failed")
    assert "is missing, and the job starts from it" in federation.runs().look(missing).row.reason
    write_start(starts / f"{name}.safetensors", weights)
    submitted = federation.runs().submit(job)
    assert failures(list(federation.runs().follow(submitted))) == []
    folder = run_folder(federation, submitted)
    assert results(folder) == results(simulated(job))
    whole_passport(federation, folder)
    for site in SITES:  # what never changes is kept there, for the next run too
        kept = federation.folder / site / "state" / "starts"
        assert (kept / f"{digest_of(taken)}.safetensors").exists() == (lora is not None)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "secure"])
def test_a_model_is_judged_without_a_training_as_in_the_simulation(federation, simulated, tiny_job, secure):
    weights = build_model(tiny_job(), seed=9).state_dict()
    digest, name = digest_of(match(build_model(tiny_job()), weights).taken), f"judged-{secure}".lower()
    starts = federation.folder / "coordinator" / "starts"
    starts.mkdir(exist_ok=True)
    write_start(starts / f"{name}.safetensors", weights)
    job = tiny_job(
        job_rounds=0,
        evaluation_select_best=None,
        privacy_secure_aggregation=secure,
        model_start=name,
        model_start_sha256=digest,
    )
    submitted = federation.runs().submit(job)
    assert failures(list(federation.runs().follow(submitted))) == []
    folder, expected = run_folder(federation, submitted), simulated(job)
    told, wanted = (json.loads((path / "run.json").read_text()) for path in (folder, expected))
    assert told["test"] == wanted["test"]
    assert told["test"]["federation"]["dice_global"] >= 0
    assert "problem" not in told["passport"], told["passport"]
    model = "model.safetensors"
    assert (folder / model).read_bytes() == (expected / model).read_bytes()
    whole_passport(federation, folder)
    for site in SITES:
        log = [own for own in entries(federation.folder / site / "audit") if own.event == "reply-sent"]
        phases = {own.fields["phase"] for own in log if own.fields["job"] == job.digest()}
        assert "evaluate" in phases
        assert "train" not in phases


@pytest.mark.parametrize("secure", [False, True])
def test_survival_rests_on_the_same_statistics_as_in_the_simulation(federation, simulated, secure):
    job = survival_job(job_rounds=2, training_batch_size=16, privacy_secure_aggregation=secure)
    name = federation.runs().submit(job)
    assert failures(list(federation.runs().follow(name))) == []
    run = simulated(job)
    deployed = run_folder(federation, name)
    assert results(deployed) == results(run)
    about, expected = (RunFolder.read(path).read_description() for path in (deployed, run))
    assert about["statistics"] == expected["statistics"]
    for site in SITES:  # what was believed is written down
        log = entries(federation.folder / site / "audit")
        taken = [entry for entry in log if entry.event == "statistics-taken"]
        assert [entry.fields["job"] for entry in taken].count(job.digest()) == 1


def test_a_killed_worker_and_a_killed_site_cost_nothing_but_time(
    federation, simulated, tiny_job, hold_images
):
    job = tiny_job(job_rounds=2, strategy_name="scaffold")  # each site keeps something between rounds
    in_alphas_training, in_betas_evaluation = hold_images("alpha", "train"), hold_images("beta", "val")
    name = federation.runs().submit(job)
    worker = in_alphas_training.meet(federation.processes["alpha"].pid)
    worker.kill()
    worker.wait()
    in_alphas_training.meet(federation.processes["alpha"].pid)  # a new worker has gone on with it
    in_alphas_training.let_go()

    worker = in_betas_evaluation.meet(federation.processes["beta"].pid)
    kill_site(federation, "beta")
    worker.wait()
    in_betas_evaluation.let_go()
    in_betas_training = hold_images("beta", "train")  # a new process reads its images in round 2
    federation.start("beta")
    worker = in_betas_training.meet(federation.processes["beta"].pid)
    assert federation.runs().look(name).row.round == 1
    kill_site(federation, "beta")
    worker.wait()
    in_betas_training.let_go()
    federation.start("beta")

    assert failures(list(federation.runs().follow(name))) == []
    assert status(federation, name) == "finished"
    assert results(run_folder(federation, name)) == results(simulated(job))


def kill(federation: LocalFederation, name: str) -> None:
    federation.processes[name].kill()
    federation.processes[name].wait()


def kill_site(federation: LocalFederation, name: str) -> None:
    """Kill a site's service; the coordinator waits for it as long as a slow machine needs to start it."""
    site = federation.folder / name
    url, key = f"https://127.0.0.1:{federation.sites_port}", load_key(site / "keys" / "site.key")
    connection = Connection(url, key, client_context(site / "keys"), threading.Event())
    with closing(connection):
        node = Node(node_id=int((site / "state" / "node-id").read_text()))
        request = SendNodeHeartbeatRequest(node=node, heartbeat_interval=600)
        assert connection.call(FleetHttpClient.SendNodeHeartbeat, request).success
    kill(federation, name)


def test_stopped_and_killed_and_resumed_as_if_never_touched(federation, simulated, tiny_job, barrier):
    job = tiny_job(job_rounds=4, strategy_name="ditto", strategy_min_sites=4)
    runs = federation.runs()
    name = runs.submit(job)
    barrier.meet(1)
    barrier.let_go()
    barrier.meet(2)
    processes = psutil.Process(federation.processes["coordinator"].pid).children(recursive=True)
    assert not [argument for one in processes for argument in one.cmdline() if "token" in argument.lower()]
    run_process = psutil.Process(server_app(federation, name))
    assert run_process.cmdline() == run_process.parent().cmdline()  # the run's secret is in none of them
    runs.stop(name)
    assert status(federation, name) == "stopped"
    barrier.let_go()

    runs.resume(name)
    barrier.meet(2)
    barrier.let_go()
    barrier.meet(3)
    os.kill(server_app(federation, name), signal.SIGKILL)
    until(lambda: "its process was killed by SIGKILL" in runs.look(name).row.reason)
    assert status(federation, name) == "interrupted"
    barrier.let_go()

    runs.resume(name)
    barrier.meet(3)
    barrier.let_go(2)
    assert list(runs.follow(name))[-1].kind == "run_finished"
    assert results(run_folder(federation, name)) == results(simulated(job, (*SITES, HELD)))


def test_a_killed_superlink_and_a_killed_coordinator_cost_nothing_but_time(
    federation, simulated, tiny_job, barrier
):
    job = tiny_job(job_rounds=4, job_seed=6, strategy_min_sites=4)
    name = federation.runs().submit(job)
    barrier.meet(1)
    barrier.let_go()
    barrier.meet(2)
    # As it may end before its SuperLink's end is noticed.
    os.kill(server_app(federation, name), signal.SIGKILL)
    until(lambda: status(federation, name) == "interrupted")
    os.kill(superlink(federation), signal.SIGKILL)
    barrier.let_go()
    barrier.meet(2)  # it was started again, and the run went on, by itself
    barrier.let_go()
    barrier.meet(3)
    kill(federation, "coordinator")
    federation.start_coordinator()
    until(lambda: status(federation, name) == "interrupted")
    barrier.let_go()
    federation.await_sites()
    federation.await_online({HELD})
    federation.runs().resume(name)
    barrier.meet(3)
    barrier.let_go(2)
    assert list(federation.runs().follow(name))[-1].kind == "run_finished"
    assert results(run_folder(federation, name)) == results(simulated(job, (*SITES, HELD)))
    until(lambda: told(federation, "alpha")["status"] == "online")


def superlink(federation: LocalFederation) -> int:
    return descendant(federation, "flower-superlink")


def server_app(federation: LocalFederation, name: str) -> int:
    """Return the process of a run; those of earlier ones may still be ending."""
    return int(RunFolder.read(run_folder(federation, name)).read_description()["process"])


def descendant(federation: LocalFederation, program: str) -> int:
    """Return a process of the coordinator by its program."""
    for process in psutil.Process(federation.processes["coordinator"].pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # others end meanwhile
            if program in " ".join(process.cmdline()):
                return process.pid
    raise AssertionError(f"no {program} runs")


def test_a_site_that_never_answers_holds_nobody_up(federation, sites, tiny_job):
    job = tiny_job(job_rounds=1, strategy_min_sites=2)
    runs = federation.runs()
    sites.held["gamma"] = in_gammas_training = Barrier()
    name = runs.submit(job)
    in_gammas_training.meet(1)
    events = []
    for event in runs.follow(name):
        events.append(event)
        if event.kind == "site_late":
            sites.held.clear()
            in_gammas_training.let_go()
    late = [(event.site, event.phase) for event in events if event.kind == "site_late"]
    assert late[0] == ("gamma", "train")
    assert {site for site, _ in [*late, *failures(events)]} == {"gamma"}
    assert status(federation, name) == "finished"
    sites = (run_folder(federation, name) / "sites.csv").read_text()
    assert "1,alpha,train" in sites
    assert "1,gamma,train" not in sites
    federation.await_online(set(SITES))  # it is back


def test_too_few_sites_is_said_at_the_end_of_the_wait(federation, tiny_job):
    runs = federation.runs()
    name = runs.submit(tiny_job(strategy_min_sites=4, strategy_wait=2.0))
    list(runs.follow(name))
    row = next(row for row in runs.list() if row.name == name)
    assert row.status == "failed"
    assert "3 sites can train, the job needs 4; delta: not connected" in row.reason


def test_secure_aggregation_gives_the_model_of_the_simulation(federation, simulated, tiny_job):
    job = tiny_job(job_rounds=2, strategy_name="fedbn", privacy_secure_aggregation=True)
    runs = federation.runs()
    name = runs.submit(job)
    assert failures(list(runs.follow(name))) == []
    assert status(federation, name) == "finished"
    assert results(run_folder(federation, name)) == results(simulated(job))
    whole_passport(federation, run_folder(federation, name))


def test_a_new_key_under_a_running_service_leaves_its_audit_log_whole(federation, tiny_job):
    def run_a_job(seed: int, *away: tuple[str, str]) -> None:
        runs = federation.runs()
        name = runs.submit(tiny_job(job_rounds=1, job_seed=seed))  # the same job may not be asked for again
        assert set(failures(list(runs.follow(name)))) <= set(away)
        assert status(federation, name) == "finished"
        assert run("client", "audit", "verify", "--dir", folder).returncode == 0
        whole_passport(federation, run_folder(federation, name))

    folder = federation.folder / "alpha"
    before = (folder / "keys" / "site.key").read_bytes()
    run_a_job(1)
    assert run("client", "renew", "--new-key", "--dir", folder).returncode == 0
    assert (folder / "keys" / "site.key").read_bytes() != before
    run_a_job(2, ("alpha", "is not connected"))  # for the moment in which it takes the key up
    federation.stop("alpha")
    federation.start("alpha")
    federation.await_sites()
    run_a_job(3)
    shown = run("client", "audit", "show", "--last", "1000", "--dir", folder).stdout
    assert shown.count("key-changed") == 1
