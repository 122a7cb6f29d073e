"""What sites and coordinators tell people: seen in their folders, and told by their services."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from client.guard.job_book import JobBook
from client.guard.ledger import LEDGER
from client.service.site_watch import SiteWatch
from client.settings.site import load_site
from server.folder.coordinator import ServerTable, found, load_settings
from server.registry.enrolment import Registry
from server.runs.folder import RunFolder
from server.runs.life import at_work
from server.service import coordinator_service
from server.service.coordinator_watch import CoordinatorWatch
from shared.audit.log import AuditLog
from shared.errors import RunError
from shared.notify.messenger import Teller
from shared.notify.outbox import Outbox
from shared.notify.settings import NotifyTable
from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request
from shared.pki.certificates import new_key, pem_of, save_key, utc_now
from shared.pki.key_file import KeyFile
from simulate.federation.processes import LocalFederation, free_ports
from tests.jobs import make_job

NEVER_RUN = NotifyTable.model_validate({"command": {"run": ["/nowhere"]}})


class Told:
    """The events that a look has made so far."""

    def __init__(self, folder: Path) -> None:
        self.outbox = Outbox(folder / "told.sqlite")
        self.teller = Teller(NEVER_RUN, "/wardround/test", self.outbox)

    def new(self) -> list[tuple[str, dict[str, Any]]]:
        letters = self.outbox.due(["command"])
        for letter in letters:
            self.outbox.sent(letter)
        return [(letter.event.kind, dict(letter.event.data)) for letter in letters]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


# A site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "keys").mkdir(parents=True)
    key = new_key()
    save_key(folder / "keys" / "site.key", key)
    authority = Authority.create(tmp_path / "ca", "fed", "127.0.0.1")
    certificate = authority.sign_site(certificate_request(key, "st-mary"), "st-mary", 5)
    (folder / "keys" / "site.crt").write_bytes(pem_of(certificate))
    lines = ['[site]\nname = "st-mary"\n[datasets.discs]\nmanifest = "m.csv"\n']
    lines += ["[policy.privacy.discs]\nepsilon = 8.0\ndelta = 1e-5\n"]
    (folder / "site.toml").write_text("".join(lines))
    return folder


def test_a_site_tells_what_waits_and_what_nears_its_end(site: Path, told: Told) -> None:
    watch, job = SiteWatch(site, load_site(site / "site.toml")), make_job()
    JobBook(site / "state.sqlite").meet(job, "jane")
    watch.look(told.teller)
    waits = {"job": job.digest(), "name": "tiny", "researcher": "jane"}
    assert told.new() == [("job-waits", waits), ("certificate-ends", {"site": "st-mary", "days": 4})]
    log = AuditLog.open(site / "audit", KeyFile(site / "keys" / "site.key"))
    for number, left in enumerate((6.0, 1.9, 1.8, 0.5)):
        log.append("privacy-spent", dataset="discs", left=left, epsilon=8.0 - left)
        (site / LEDGER).write_bytes(b"x" * number)
        watch.look(told.teller)
    assert [(kind, round(float(data["left"]), 4)) for kind, data in told.new()] == [
        ("budget-ends", 0.2375),
        ("budget-ends", 0.0625),
    ]
    SiteWatch(site, load_site(site / "site.toml")).look(told.teller)  # the service was started again
    assert told.new() == []


# A coordinator


@pytest.fixture
def coordinator(tmp_path: Path) -> Path:
    folder = tmp_path / "fed"
    found(folder, ServerTable(name="lung-eu", host="127.0.0.1"), None)
    return folder


def test_a_coordinator_tells_how_runs_go(coordinator: Path, told: Told) -> None:
    def run_of(name: str) -> RunFolder:
        return RunFolder.create(coordinator / "runs", make_job(), name, "brain")

    with at_work(run_of("old"), resume=False):
        pass
    watch = CoordinatorWatch(coordinator, load_settings(coordinator))
    watch.look(told.teller)
    assert told.new() == []  # of what had ended before
    run = run_of("new")
    with at_work(run, resume=False):
        watch.look(told.teller)
        assert told.new() == []  # it may still have to wait for its sites
        run.describe(sites={"st-mary": {}})
        watch.look(told.teller)
    watch.look(told.teller)
    with pytest.raises(RunError), at_work(run_of("bad"), resume=False):
        raise RunError("no site can train: /data/Maier.dcm", where="st-mary")
    watch.look(told.teller)
    watch.look(told.teller)
    named = {"run": "new", "job": run.job.digest(), "project": "brain"}
    [began, finished, failed] = told.new()
    assert began == ("run-began", named)
    assert finished == ("run-finished", named)
    assert failed[0] == "run-failed"
    assert "no site can train" in str(failed[1]["reason"])
    assert "Maier" not in str(failed[1])


def test_a_coordinator_tells_that_a_model_has_become_worse(coordinator: Path, told: Told) -> None:
    """Beside the first run that judged the same model; another model's runs say nothing of it."""
    watch = CoordinatorWatch(coordinator, load_settings(coordinator))
    watch.look(told.teller)

    def judged(name: str, day: int, auroc: float, model: str = "a" * 64) -> None:
        job = make_job(
            task_name="classification",
            job_rounds=0,
            evaluation=None,
            model={"name": "cnn", "channels": [4, 8], "start": "released", "start_sha256": model},
        )
        run = RunFolder.create(coordinator / "runs", job, name, "brain")
        scores = {"federation": {"auroc": auroc}, "sites": {}}
        metrics = {"auroc": {"value": auroc, "low": auroc - 0.05, "high": auroc + 0.05}}
        run.describe(
            started=f"2027-01-{day:02}T00:00:00+00:00",
            status="finished",
            test=scores,
            comparison={"how": "counts", "metrics": metrics},
        )

    judged("release", 1, 0.9)
    judged("later", 2, 0.86)
    judged("other", 3, 0.5, "b" * 64)
    judged("worse", 4, 0.84)
    watch.look(told.teller)
    watch.look(told.teller)
    assert [own["run"] for kind, own in told.new() if kind == "model-worse"] == ["worse"]


def test_a_coordinator_tells_which_sites_are_lost_and_back(coordinator: Path, told: Told) -> None:
    time = utc_now()
    clock = lambda: time  # noqa: E731
    key = new_key()
    with closing(Registry(coordinator / "registry.sqlite", lambda *_, **__: None, clock)) as registry:
        authority = Authority.open(coordinator / "ca")
        registry.redeem(registry.invite("st-mary"), certificate_request(key, "st-mary"), authority)
        [site] = registry.sites()
        watch = CoordinatorWatch(coordinator, load_settings(coordinator), clock)
        watch.look(told.teller)
        assert told.new() == []  # it was never there
        for minutes in (1, 2, 9, 3, 30, 31, 5):
            time += timedelta(minutes=minutes)
            if minutes in {1, 31}:
                registry.seen(site.serials[0])
            watch.look(told.teller)
    kinds = [kind for kind, _ in told.new() if kind.startswith("site")]
    assert kinds == ["site-lost", "site-back"]


# Real processes


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[tuple[LocalFederation, Callable[[], list[dict[str, Any]]]]]:
    """Return a federation that tells everything to a program, and a function that gives what it was told."""
    told, program = tmp_path / "told", tmp_path / "tell.py"
    told.mkdir()
    program.write_text(
        "import json, sys; from pathlib import Path\n"
        "event = json.load(sys.stdin)\n"
        "file = Path(sys.argv[1]) / event['id']\n"
        "file.with_suffix('.part').write_text(json.dumps(event))\n"
        "file.with_suffix('.part').rename(file)\n"
    )
    table = f"\n[notify.command]\nrun = {json.dumps([sys.executable, str(program), str(told)])}\n"
    sites_port, people_port = free_ports(2)
    settings = ServerTable(name="local", host="127.0.0.1", sites_port=sites_port, people_port=people_port)
    found(tmp_path / "coordinator", settings, None)
    with (tmp_path / "coordinator" / "server.toml").open("a") as file:
        file.write(table)

    def events() -> list[dict[str, Any]]:
        return [json.loads(file.read_text()) for file in told.iterdir() if file.suffix != ".part"]

    with LocalFederation(tmp_path) as running:
        yield running, events


@pytest.mark.slow
def test_services_tell_people(federation, tiny_data: Path, tmp_path: Path) -> None:
    running, events = federation
    folder = running.enrol("alpha", {"discs": tiny_data})
    text = (folder / "site.toml").read_text().replace('"automatic"', '"manual"')
    table = (tmp_path / "coordinator" / "server.toml").read_text().partition("\n[notify.command]\n")[2]
    (folder / "site.toml").write_text(f"{text}\n[notify.command]\n{table}")
    running.start("alpha")
    running.await_sites()
    name = running.runs().submit(make_job(strategy_min_sites=1))
    wanted = {
        "/wardround/site/alpha": "wardround.job-waits",
        "/wardround/coordinator/local": "wardround.run-",
    }
    missing = wanted
    while missing:
        found_events = [(event["source"], event["type"]) for event in events()]
        missing = {
            source: kind
            for source, kind in wanted.items()
            if not any(one == source and other.startswith(kind) for one, other in found_events)
        }
        assert all(process.poll() is None for process in running.processes.values()), running.log("alpha")
        time.sleep(0.05)  # leaves the processor to the services
    [waits] = [event for event in events() if event["type"] == "wardround.job-waits"]
    assert waits["data"]["name"] == "tiny"
    assert {event["data"]["run"] for event in events() if "run" in event["data"]} == {name}
    assert "waits for approval: wardround client approve" in running.log("alpha")


def test_what_goes_on_beside_the_coordinator_outlives_its_errors(monkeypatch, caplog) -> None:
    monkeypatch.setattr(coordinator_service, "_AGAIN_S", 0.0)
    errors = [ValueError("run.json is not an object"), KeyError("queue")]

    async def watch() -> None:
        if errors:
            raise errors.pop()

    asyncio.run(coordinator_service.kept_up(watch))
    assert errors == []
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
