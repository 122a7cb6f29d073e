"""Hospitals that decide by hand: a run waits for them, survives, and takes in who comes later."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from client.guard.job_book import JobBook
from server.runs.folder import RunFolder
from server.runs.participation import Participation
from shared.audit.verify import entries
from shared.job.schema import JobSpec
from shared.passport.check import load_passport, load_root
from simulate.federation.processes import LocalFederation
from simulate.session.session import Hospitals, execute, start
from tests.cli import wardround
from tests.simulate.federation.held_sites import Barrier, Sites
from tests.simulate.federation.test_federation import results, run_folder, status, until

pytestmark = pytest.mark.slow

SITES = ("alpha", "beta", "gamma", "delta")


@pytest.fixture(scope="module")
def federation(tiny_data: Path, tmp_path_factory) -> Iterator[LocalFederation]:
    """Give a federation whose hospitals approve each job by hand."""
    with LocalFederation(tmp_path_factory.mktemp("federation")) as running:
        for site in SITES:
            file = running.enrol(site, {"discs": tiny_data}) / "site.toml"
            file.write_text(file.read_text().replace('approval = "automatic"', 'approval = "manual"'))
        yield running


@pytest.fixture(scope="module")
def sites(federation: LocalFederation) -> Iterator[Sites]:
    """Give the hospitals; the last one has not started yet."""
    with Sites(federation) as made:
        for site in SITES[:3]:
            made.start(site)
        yield made


def decide(federation: LocalFederation, job: JobSpec, decision: str, *sites: str) -> None:
    for site in sites:
        JobBook(federation.folder / site / "state.sqlite").decide(job.digest(), decision, "it")  # type: ignore[arg-type]


def reason(federation: LocalFederation, name: str) -> str:
    return next(row.reason for row in federation.runs().list() if row.name == name)


def waits_again_for(federation: LocalFederation, name: str) -> str:
    """Return for whom a resumed run says that it waits; `run.json` has still what was said before."""
    lines = (run_folder(federation, name) / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines if line.endswith("}")]
    kinds = [event["event"] for event in events]
    since = kinds.index("resumed") if "resumed" in kinds else len(kinds)
    said = [event["for"] for event in events[since:] if event["event"] == "run_waiting"]
    return said[-1] if said else ""


def has_pytorch(federation: LocalFederation, name: str) -> bool:
    """Say whether the process of a run has loaded PyTorch."""
    process = RunFolder.read(run_folder(federation, name)).read_description()["process"]
    return "libtorch" in Path(f"/proc/{process}/maps").read_text()


def refusals(federation: LocalFederation, site: str) -> int:
    """Return how many refused looks a hospital's log has."""
    log = entries(federation.folder / site / "audit")
    return sum(entry.event == "request-refused" for entry in log)


def test_a_first_submission_waits_for_approvals_and_takes_in_who_comes_late(
    federation, sites, tiny_job, tmp_path
):
    job = tiny_job(job_rounds=3, strategy_min_sites=2, strategy_grace=20.0)
    sites.held |= {"alpha": (in_alphas_training := Barrier()), "beta": (in_betas_training := Barrier())}
    name = federation.runs().submit(job)
    # It says for whom it waits a moment before it gives its place to others.
    until(lambda: [status(federation, name), reason(federation, name).count("(approval, ")] == ["waiting", 3])
    assert not has_pytorch(federation, name)
    assert "delta (not connected)" in reason(federation, name)
    shown = wardround("runs", "--dir", federation.folder / "coordinator", environment={"COLUMNS": "400"})
    assert "waiting for alpha (approval, since " in shown.stdout
    decide(federation, job, "approved", "alpha")
    until(lambda: reason(federation, name).count("(approval, since ") == 2)
    about = RunFolder.read(run_folder(federation, name)).read_description()["waiting"]

    federation.processes["coordinator"].kill()  # while the run waits
    federation.processes["coordinator"].wait()
    federation.start_coordinator()
    until(lambda: waits_again_for(federation, name).count("(approval, since ") == 2)
    assert status(federation, name) == "waiting"
    again = RunFolder.read(run_folder(federation, name)).read_description()["waiting"]
    assert (again["since"], again["until"]) == (about["since"], about["until"])
    assert again["sites"]["beta"] == about["sites"]["beta"]

    decide(federation, job, "approved", "beta", "gamma")  # all that are connected: it begins
    in_alphas_training.meet(1)
    in_betas_training.meet(1)
    sites.held.clear()  # in later rounds
    assert (status(federation, name), has_pytorch(federation, name)) == ("running", True)
    assert refusals(federation, "gamma") == 1  # however often it was looked at
    sites.start("delta")
    JobBook(federation.folder / "delta" / "state.sqlite").meet(job, "")
    decide(federation, job, "approved", "delta")
    in_alphas_training.let_go()
    joined = []
    for event in federation.runs().follow(name):
        if (event.kind, event.site) == ("site_late", "beta"):  # lost for a round
            in_betas_training.let_go()
        if event.kind == "site_joined":
            joined.append((event.site, event.round))
    assert status(federation, name) == "finished"
    assert joined[-1] == ("delta", 2)
    record = Participation.read(run_folder(federation, name), job)
    assert record.lost == {"beta": 1}
    assert [record.of(number).trained for number in (1, 2)] == [["alpha", "gamma"], sorted(SITES)]
    assert json.loads((run_folder(federation, name) / "run.json").read_text())["joined"] == {"delta": 2}
    root = load_root(federation.folder / "coordinator" / "ca" / "ca.crt")
    passport = load_passport(run_folder(federation, name) / "passport.json", root)
    assert passport.content.without == {}
    trained = {site: passport.trained_in(site) for site in SITES}
    assert trained == {"alpha": [1, 2, 3], "beta": [2, 3], "gamma": [1, 2, 3], "delta": [2, 3]}

    files = [federation.folder / site / "site.toml" for site in SITES]
    hospitals = Hospitals(files=files, repeats=record)
    repeated = start(job, hospitals, tmp_path / "repeated", "cpu", baselines=False)
    execute(repeated, "in-process", Console(file=io.StringIO()))
    assert results(repeated.path) == results(run_folder(federation, name))


def test_a_run_that_waits_can_be_stopped_and_goes_on_waiting(federation, sites, tiny_job):
    job, runs = tiny_job(job_rounds=1, job_seed=7, strategy_min_sites=3), federation.runs()
    sites.start("delta")
    name = runs.submit(job)
    until(lambda: "alpha (approval, since " in reason(federation, name))
    runs.stop(name)
    assert status(federation, name) == "stopped"
    assert reason(federation, name) == "by an operator, on the coordinator's machine"
    runs.resume(name)
    until(lambda: "alpha (approval, since " in reason(federation, name))
    until(lambda: reason(federation, name).count("(approval, since ") == len(SITES))
    decide(federation, job, "denied", "alpha")
    decide(federation, job, "approved", "beta", "gamma", "delta")
    assert list(runs.follow(name))[-1].kind == "run_finished"
    about = json.loads((run_folder(federation, name) / "run.json").read_text())
    assert "alpha" not in about["sites"]


@pytest.mark.usefixtures("sites")
def test_at_its_deadline_a_run_fails_with_the_reasons(federation, tiny_job):
    job, runs = tiny_job(job_rounds=1, job_seed=8, strategy_min_sites=3, strategy_wait=1.0), federation.runs()
    name = runs.submit(job)
    list(runs.follow(name))
    assert status(federation, name) == "failed"
    assert "0 sites can train, the job needs 3; alpha: approval; beta: approval" in reason(federation, name)
