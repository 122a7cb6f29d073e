"""The sites' heads in the coordinator's log: a log that was put back is noticed, on both sides."""

import shutil
from pathlib import Path

import pytest

from client.guard.gate import Gate
from client.settings.policy import PolicyTable
from client.settings.site import DatasetTable, SiteConfig, SiteTable
from client.training.device import open_device
from client.work.client_app import make_app
from client.work.hospital import Site
from client.work.warm_networks import Workshop
from server.audit.log import create_audit_key, open_audit
from server.rounds.site_heads import SiteHeads, known_heads
from server.runs.events import Event
from shared.audit import log_heads
from shared.audit.log import AuditLog
from shared.audit.verify import entries
from shared.pki.certificates import load_key, new_key, openssh, save_key

ALPHA = 10


class Hospital:
    """Site alpha with its gate: audit log, job book and ledger in a folder."""

    def __init__(self, folder: Path, manifest: Path) -> None:
        self.folder = folder
        (folder / "keys").mkdir(parents=True)
        save_key(folder / "keys" / "site.key", new_key())
        self._config = SiteConfig(
            site=SiteTable(name="alpha", coordinator=None),
            datasets={"discs": DatasetTable(manifest=manifest, site="alpha")},
            policy=PolicyTable(
                approval="automatic", min_group=1, min_patients_in_update=1, share_site_metrics=True
            ),
        )

    @property
    def key(self):
        return load_key(self.folder / "keys" / "site.key")

    @property
    def log(self) -> AuditLog:
        return AuditLog.open(self.folder / "audit", self.key)

    def app(self):
        gate = Gate.open(self.folder, self._config)
        return make_app(Site(self._config, Workshop(open_device("cpu")), gate=gate))

    def pad(self, number: int) -> None:
        """Write entries until the log is longer than any was."""
        for _ in range(number):
            self.log.append("service-started", version="1.0")


class Coordinator:
    """A folder with the coordinator's log."""

    def __init__(self, folder: Path, hospital: Hospital) -> None:
        folder.mkdir()
        create_audit_key(folder)
        self.folder, self._hospital = folder, hospital

    def heads(self, run: str = "run-1") -> SiteHeads:
        known = known_heads(self.folder / "audit")
        return SiteHeads(
            open_audit(self.folder).append, known, run, lambda _: [openssh(self._hospital.key.public_key())]
        )

    def noted(self, event: str):
        return [entry.fields for entry in entries(self.folder / "audit") if entry.event == event]


@pytest.fixture
def hospital(tmp_path, tiny_data) -> Hospital:
    return Hospital(tmp_path / "alpha", tiny_data)


@pytest.fixture
def coordinator(tmp_path, hospital) -> Coordinator:
    return Coordinator(tmp_path / "coordinator", hospital)


@pytest.fixture
def run(federate, coordinator, hospital):
    """Return a function that runs a job with the hospital among the sites."""

    def start(job, change=None):
        federated = federate(job, heads=coordinator.heads())
        federated.grid._apps[ALPHA] = hospital.app()
        if change is not None:
            federated.grid.changes[ALPHA] = change
        federated.loop.execute()
        return federated

    return start


def test_a_log_that_grows_is_proven_over_rounds_runs_and_restarts(run, tiny_job, coordinator, hospital):
    for rounds in (2, 1):
        federated = run(tiny_job(job_rounds=rounds))
        assert federated.failures() == []
        assert "alpha" in federated.run.read_description()["sites"]
    assert coordinator.noted("site-log-cut") == []
    kept = coordinator.noted("site-head")
    assert kept[-1]["head"] == hospital.log.head
    key = openssh(hospital.key.public_key())
    last = log_heads.Grown(kept[-1]["head"], kept[-1]["head_before"], kept[-1]["signature"])
    assert last.is_signed_by([key])  # what convicts a site that has signed a lie


@pytest.mark.parametrize("padding", [0, 3, 200])
def test_ledger_and_log_that_were_put_back_are_noticed_on_both_sides(
    run, tiny_job, coordinator, hospital, padding
):
    run(tiny_job(job_rounds=1))
    shutil.copytree(hospital.folder, hospital.folder.with_name("backup"))
    run(tiny_job(job_rounds=2))
    known = known_heads(coordinator.folder / "audit")["alpha"]
    shutil.rmtree(hospital.folder)
    shutil.copytree(hospital.folder.with_name("backup"), hospital.folder)
    hospital.pad(padding)

    federated = run(tiny_job(job_rounds=1))
    [(site, phase, reason)] = federated.failures()
    assert (site, phase) == ("alpha", "describe")
    assert "audit log" in reason
    assert "alpha" not in federated.run.read_description()["sites"]
    [cut] = coordinator.noted("site-log-cut")
    assert (cut["site"], cut["head_before"]) == ("alpha", known)
    failed = [entry for entry in entries(hospital.folder / "audit") if entry.event == "request-failed"]
    assert failed[-1].fields["phase"] == "describe"


def test_a_log_that_is_put_back_in_the_middle_of_a_run_is_noticed(run, tiny_job, coordinator, hospital):
    def put_back(question, answer):
        if question.metadata.message_type == "train":
            if question.content["config"]["round"] == 1:
                shutil.copytree(hospital.folder / "audit", hospital.folder / "old")
            else:
                shutil.rmtree(hospital.folder / "audit")
                shutil.copytree(hospital.folder / "old", hospital.folder / "audit")
                hospital.pad(30)
        return [answer]

    federated = run(tiny_job(job_rounds=3), put_back)
    assert ("alpha", "train") in {(site, phase) for site, phase, _ in federated.failures()}
    assert {cut["site"] for cut in coordinator.noted("site-log-cut")} == {"alpha"}


def forged(make):
    """Return a hand of a site that says something else of its log."""

    def apply(question, answer):
        known = log_heads.asked(question.content)
        if known and not answer.has_error():
            answer.content.pop(log_heads.AUDIT)
            if (grown := make(known)) is not None:
                log_heads.add(answer.content, grown)
        return [answer]

    return apply


FORGED = {
    "nothing": lambda known: None,
    "the same head again": lambda known: log_heads.Grown(known, known, ""),
    "a longer log without a proof": lambda known: log_heads.Grown("900:" + "a" * 64),
    "a longer log with a false proof": lambda known: log_heads.Grown("900:" + "a" * 64, known, "A" * 140),
    "a shorter log": lambda known: log_heads.Grown("1:" + "a" * 64, known, "A" * 140),
}


@pytest.mark.parametrize("name", FORGED)
def test_who_shows_nothing_is_left_out_and_noted_under_its_own_name(run, tiny_job, coordinator, name):
    federated = run(tiny_job(job_rounds=1), forged(FORGED[name]))
    failures = {(site, phase) for site, phase, _ in federated.failures()}
    assert failures == {("alpha", "train"), ("alpha", "evaluate"), ("alpha", "test")}
    assert {cut["site"] for cut in coordinator.noted("site-log-cut")} == {"alpha"}


def test_a_proof_for_another_head_than_was_asked_is_none(run, tiny_job, coordinator, hospital):
    def of_itself(known):
        hospital.pad(1)
        head = hospital.log.head
        before = f"{log_heads.number(known)}:{'b' * 64}"
        return log_heads.Grown(head, before, hospital.log.sign(log_heads.statement(before, head)))

    run(tiny_job(job_rounds=1), forged(of_itself))
    assert coordinator.noted("site-log-cut")


def test_a_site_that_joined_anew_begins_a_new_log(run, tiny_job, coordinator, hospital):
    run(tiny_job(job_rounds=1))
    shutil.rmtree(hospital.folder / "audit")
    (hospital.folder / "ledger.sqlite").unlink()
    open_audit(coordinator.folder).append("site-enrolled", site="alpha", serial="1")
    assert run(tiny_job(job_rounds=1)).failures() == []
    assert coordinator.noted("site-log-cut") == []


def test_heads_are_written_once_a_round(coordinator, hospital):
    heads = coordinator.heads()
    for _ in range(3):
        answer = heads.ask("alpha", log_heads.RecordDict())
        hospital.pad(1)
        known, head = log_heads.asked(answer), hospital.log.head
        signature = hospital.log.sign(log_heads.statement(known, head)) if known else ""
        log_heads.add(answer, log_heads.Grown(head, known, signature))
        heads.take("alpha", answer)
    assert coordinator.noted("site-head") == []
    heads(Event("round_finished", 1))
    heads(Event("round_finished", 2))
    assert [entry["head"] for entry in coordinator.noted("site-head")] == [hospital.log.head]
