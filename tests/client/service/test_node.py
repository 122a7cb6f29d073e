"""A hospital's service as a process of its own, behind a line to a real coordinator that can be cut."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from subprocess import CompletedProcess

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA384

from client.guard.job_book import JobBook
from client.service.health import LIVENESS, ask, socket_of
from server.registry.enrolment import Registry
from shared.flower.runs import Runs
from shared.job.schema import JobSpec
from shared.pki.authority import SKEW, Authority
from shared.pki.certificate_requests import certificate_request, renewal_statement
from shared.pki.certificates import load_certificate, load_key, pem_of, renewal_due, utc_now
from simulate.federation.faulty_line import Line
from simulate.federation.processes import LocalFederation, free_ports
from tests.cli import wardround

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[3]
DUE_S = 3.0  # seconds from the start of the service until its certificate must be renewed


class Hospital:
    """The site 'alpha' and the line to its coordinator."""

    def __init__(self, federation: LocalFederation, line: Line, health: str) -> None:
        self.federation = federation
        self.line = line
        self.health = health
        self.folder = federation.folder / "alpha"

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.federation.processes["alpha"].pid)

    def start(self) -> None:
        self.federation.start("alpha", "--health", self.health)
        until(lambda: self.serves() == "serving")

    def serves(self, service: str = "") -> str:
        return ask(self.health, service)

    def client(self, *arguments: object) -> CompletedProcess[str]:
        return wardround("client", *arguments, "--dir", self.folder)

    def status(self) -> tuple[int, str]:
        told = self.client("status")
        return told.returncode, told.stdout

    def answers(self, job: JobSpec, name: str) -> dict[str, str]:
        """Let a coordinator ask what it should not; return what the site says to each question."""
        coordinator = self.federation.folder / "coordinator"
        path = coordinator / "runs" / f"{name}.json"
        with Runs(self.federation.superlink, "curious_coordinator:app") as runs:
            run = runs.start(job.canonical(), name, researcher="", resume=False)
            until(lambda: path.exists() or runs.failure(run))
            assert path.exists(), runs.failure(run)
        return json.loads(path.read_text())


def until(condition: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def let_it_end(federation: LocalFederation, name: str) -> None:
    """Replace a site's certificate by one whose last third begins in a few seconds."""
    keys, coordinator = federation.folder / name / "keys", federation.folder / "coordinator"
    day = timedelta(days=1)
    start = utc_now() + timedelta(seconds=DUE_S) - day * 2 / 3
    past = replace(Authority.open(coordinator / "ca"), clock=lambda: start + SKEW)
    key, request = load_key(keys / "site.key"), certificate_request(load_key(keys / "site.key"), name)
    signature = key.sign(renewal_statement(request), ECDSA(SHA384()))
    later = lambda: utc_now() + day * 80  # noqa: E731  (the first half of its life has passed)
    with closing(Registry(coordinator / "registry.sqlite", lambda event, **fields: None, later)) as registry:
        old = pem_of(load_certificate(keys / "site.crt"))
        (keys / "site.crt").write_bytes(pem_of(registry.renew(old, request, signature, past, days=1)))


@pytest.fixture(scope="module")
def hospital(tiny_data: Path, tmp_path_factory) -> Iterator[Hospital]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        health = f"127.0.0.1:{free_ports(1)[0]}"
        with (
            LocalFederation(tmp_path_factory.mktemp("federation")) as federation,
            Line("127.0.0.1", federation.sites_port) as line,
        ):
            federation.enrol("alpha", {"discs": tiny_data})
            federation.reroute("alpha", line.port)
            site_file = federation.folder / "alpha" / "site.toml"
            site_file.write_text(site_file.read_text().replace('"automatic"', '"manual"'))
            let_it_end(federation, "alpha")
            made = Hospital(federation, line, health)
            made.start()
            yield made


def test_it_renews_its_certificate_while_it_runs(hospital):
    keys = hospital.folder / "keys"
    until(lambda: load_certificate(keys / "site.crt").not_valid_after_utc > utc_now() + timedelta(days=80))
    until(lambda: "the certificate was renewed" in hospital.federation.log("alpha"))
    registry = hospital.federation.folder / "coordinator" / "registry.sqlite"
    newest = load_certificate(keys / "site.crt")
    assert renewal_due(newest) > utc_now() + timedelta(days=50)
    with closing(sqlite3.connect(registry)) as db, db:  # from now on only the new one admits anybody
        db.execute("UPDATE certificate SET revoked = 1 WHERE id < (SELECT MAX(id) FROM certificate)")
    asked = time.monotonic()
    until(lambda: time.monotonic() - asked > 1.0 or hospital.serves() != "serving")
    assert hospital.serves() == "serving"
    assert "refuses" not in hospital.federation.log("alpha")


def test_it_answers_for_itself(hospital):
    assert hospital.serves(LIVENESS) == "serving"
    assert ask(socket_of(hospital.folder / "state")) == "serving"
    code, told = hospital.status()
    assert (code, told.split()[0]) == (0, "online")
    assert f"process {hospital.process.pid}" in told
    checked = hospital.client("check", "--offline").stdout
    assert "service      online" in checked


def test_a_second_service_of_one_folder_is_refused(hospital):
    second = hospital.client("start")
    assert second.returncode == 2
    assert "this site's service runs already" in second.stderr
    assert hospital.serves() == "serving"


def test_it_survives_its_worker_and_refuses_what_makes_no_sense(hospital, tiny_job):
    job = tiny_job()
    book = JobBook(hospital.folder / "state.sqlite")
    book.meet(job, "")
    book.decide(job.digest(), "approved", "the test")
    [worker] = [child for child in hospital.process.children() if "spawn_main" in " ".join(child.cmdline())]
    worker.send_signal(signal.SIGKILL)
    answers = hospital.answers(job, "curious")
    words = {
        "approved": "an answer",
        "changed": "policy.approval: the job waits until the hospital approves it",
        "not canonical": "not in canonical form",
        "forged layout": "another layout here",
        "too short": "instead of (604,)",
        "NaN": "not finite",
        "in pieces": "has no content",
        "named with another size": "an array of another size",
        "named, no array": "does not hold plain values",
        "named like a path": "in a way that can't be read",
        "named, a terabyte": "names arrays of 1000000000000 bytes, and its job has use for",
        "named": "an answer",
        "once too often": "training of round 1 was answered 2 times",
        "in a round beyond the last": "job.rounds: the job has rounds 1 to 3",
        "the next round": "an answer",
        "the next round with another model": "job.model: another model was sent before",
        "empty": "has no ConfigRecord",
        "in the end": "an answer",
    }
    assert list(answers) == list(words)
    for name, text in words.items():
        assert text in answers[name], name
    assert not worker.is_running()


def test_it_says_when_the_coordinator_is_away_and_when_it_is_back(hospital):
    hospital.line.cut()
    until(lambda: hospital.serves() == "not serving")
    assert hospital.serves(LIVENESS) == "serving"
    code, told = hospital.status()
    assert code == 3
    assert told.startswith("waiting for the coordinator (")
    hospital.line.mend()
    until(lambda: hospital.serves() == "serving")
    assert hospital.status()[1].startswith("online")


def test_its_log_names_no_patient_no_image_and_no_secret(hospital, tiny_data):
    log = hospital.federation.log("alpha")
    assert "alpha is online" in log
    row = tiny_data.read_text().splitlines()[1].split(",")
    secret = (hospital.folder / "keys" / "site.key").read_text().splitlines()[1]
    for word in (row[1], Path(row[2]).name, str(tiny_data.parent), secret, "PRIVATE KEY", "wardround-join"):
        assert word not in log


def test_its_audit_log_is_whole_and_has_what_it_did(hospital):
    assert hospital.client("audit", "verify").returncode == 0
    shown = hospital.client("audit", "show", "--last", 100).stdout
    for event in ("service-started", "certificate-renewed", "job-seen", "request-refused", "reply-sent"):
        assert event in shown


def test_it_stops_when_told_and_comes_back(hospital):
    process = hospital.federation.processes["alpha"]
    process.terminate()
    assert process.wait(300) == 0
    code, told = hospital.status()
    assert (code, told.split()[0]) == (3, "stopped")
    hospital.start()
    hospital.federation.processes["alpha"].kill()
    hospital.federation.processes["alpha"].wait()
    code, told = hospital.status()
    assert code == 3
    assert "ended without a word" in told
