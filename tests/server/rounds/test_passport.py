"""Passports of runs: every site signs from its own log; who does not, or signs something else, is named."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from client.data.manifest.splits import CohortKey
from client.guard.cohort import Cohort
from client.guard.gate import Gate
from client.guard.job_book import JobBook
from client.guard.ledger import LEDGER, Ledger
from client.settings.policy import PolicyTable
from client.settings.site import DatasetTable, SiteConfig, SiteTable
from client.training.device import open_device
from client.work.client_app import make_app
from client.work.hospital import Site
from client.work.secure_aggregation import Credentials
from client.work.warm_networks import Workshop
from server.rounds.deadline import Deadline
from server.rounds.passport import Passports
from server.rounds.site_heads import SiteHeads
from shared.audit.log import AuditLog
from shared.audit.verify import entries, verify
from shared.errors import RunError
from shared.passport.check import Passport, check_model, load_passport, load_root
from shared.passport.envelope import PassportError
from shared.passport.sums import RoundSum, Sums, check_sums
from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request
from shared.pki.certificates import new_key, openssh, pem_of, save_key
from shared.privacy.secagg.identity import Identity, Trust
from shared.wire import messages
from shared.wire.flat_array import to_array, view
from shared.wire.sent import SUM_HASH
from shared.wire.statement_message import STATEMENT, statement_request
from tests.cli import wardround
from tests.server.conftest import FEW, Federated

SITES = ("alpha", "beta", "gamma", "delta")


class Hospitals:
    """Sites with logs and certificates of one federation, on the grid of a run, and its coordinator."""

    def __init__(self, folder: Path, manifest: Path, **policy: object) -> None:
        self.folder = folder / "coordinator"
        self.authority = Authority.create(self.folder / "ca", "tiny-fed", "localhost")
        key = new_key()
        (self.folder / "tls").mkdir()
        save_key(self.folder / "tls/server.key", key)
        certificate = self.authority.sign_server(key.public_key(), "localhost")
        (self.folder / "tls/server.crt").write_bytes(pem_of(certificate))
        self.audit = AuditLog.open(self.folder / "audit", key)
        self.keys = {name: new_key() for name in SITES}
        self.logs = {name: folder / name / "audit" for name in SITES}
        self.sites = {name: self._site(folder / name, manifest, name, policy) for name in SITES}

    def _site(self, folder: Path, manifest: Path, name: str, policy: dict[str, object]) -> Site:
        config = SiteConfig(
            site=SiteTable(name=name, coordinator=None),
            datasets={"discs": DatasetTable(manifest=manifest, site=name)},
            policy=PolicyTable.model_validate({"approval": "automatic", **FEW, **policy}),
        )
        folder.mkdir()
        audit = AuditLog.open(self.logs[name], self.keys[name])
        ledger = Ledger(folder / LEDGER, audit)
        cohort = Cohort(CohortKey.drawn(0))
        certificate = self.authority.sign_site(certificate_request(self.keys[name], name), name)
        identity = Identity(name, self.keys[name], certificate)
        book = JobBook(folder / "state.sqlite")
        return Site(
            config,
            Workshop(open_device("cpu")),
            gate=Gate(config, book, audit, ledger, cohort=cohort, identity=lambda: identity),
            credentials=Credentials(identity, Trust(self.authority.certificate)),
        )

    def heads(self, run: str) -> SiteHeads:
        return SiteHeads(self.audit.append, {}, run, lambda site: [openssh(self.keys[site].public_key())])

    def passport(self, federated: Federated) -> Passport:
        """Run a job to its end and return its passport, checked."""
        grid, loop = federated.grid, federated.loop
        grid._apps |= {10 + number: make_app(self.sites[name]) for number, name in enumerate(SITES)}
        loop.execute()
        Passports(self.folder, self.audit.append).write(federated.run, loop.federation, loop.layout)
        return load_passport(federated.run.path / "passport.json", load_root(self.folder / "ca/ca.crt"))


@pytest.fixture
def hospitals(tiny_data, tmp_path) -> Hospitals:
    (tmp_path / "fed").mkdir()
    return Hospitals(tmp_path / "fed", tiny_data)


@pytest.fixture
def passport(hospitals, federate) -> Callable[..., tuple[Passport, Federated]]:
    """Return a function that runs a job, after a change to its federation, and gives both."""

    def make(job, change: Callable[[Federated], object] = lambda _: None) -> tuple[Passport, Federated]:
        federated = federate(job, heads=hospitals.heads("any"), rehearsal=False)
        change(federated)
        return hospitals.passport(federated), federated

    return make


def test_every_site_signs_what_it_did(passport, hospitals, tiny_job) -> None:
    found, federated = passport(tiny_job(job_rounds=2, evaluation_select_best="dice_global"))
    trainers = [name for name in SITES if found.trained_in(name)]
    assert len(trainers) >= 3
    assert sorted(found.statements) == found.sites
    assert found.content.without == {}
    for file in ("model.safetensors", "best.safetensors"):
        released = check_model(found, federated.run.path / file, file)
        assert found.sent_to(released.round) == found.sites
    for name in found.sites:
        log = list(entries(hospitals.logs[name]))
        sent = [entry.fields["sha256"] for entry in log if entry.fields.get("phase") == "train"]
        assert [one.update for one in found.statements[name].trained] == sent
        assert [entry.event for entry in log].count("statement-signed") == 1
        assert verify(hospitals.logs[name], hospitals.keys[name].public_key()) == []
    assert "passport-written" in [entry.event for entry in entries(hospitals.folder / "audit")]


def test_what_a_site_does_not_sign_is_said(passport, tiny_job) -> None:
    """An update that is not what left the site, a site that is gone, and one that signs nothing."""

    def spoil(federated: Federated) -> None:
        federated.grid.changes = {11: other_update, 12: silent_at_the_end}

    found, federated = passport(tiny_job(job_rounds=1), spoil)
    without = found.content.without
    assert without["beta"] == "signs something else than the coordinator has received"
    assert without["gamma"] == "gave no answer"
    assert "alpha" in found.statements
    about = federated.run.read_description()["passport"]
    assert "does not sign the update of round 1" in about["without"]["beta"]
    assert about["without"].keys() == without.keys()
    assert about["signed"] == sorted(found.statements)


def other_update(question: Message, honest: Message) -> list[Message]:
    if question.metadata.message_type == "train":
        vector = view(honest.content[messages.ARRAYS][messages.VECTOR]) * np.float32(0.5)
        honest.content[messages.ARRAYS] = messages.vector_record(vector)
    return [honest]


def silent_at_the_end(question: Message, honest: Message) -> list[Message]:
    return [] if question.metadata.message_type == f"query.{STATEMENT}" else [honest]


def test_a_masked_sum_is_signed_as_it_left(passport, tiny_job) -> None:
    found, _ = passport(tiny_job(job_rounds=1, privacy_secure_aggregation=True))
    assert found.content.without == {}
    assert all(own.promise.secure_aggregation for own in found.statements.values())


def test_anybody_checks_that_a_sum_is_of_what_was_signed(passport, hospitals, tiny_job) -> None:
    found, federated = passport(
        tiny_job(job_rounds=2, privacy_secure_aggregation=True, privacy_verifiable_sum=True)
    )
    folder = federated.run.path
    said = wardround("verify", folder, "--root", hospitals.folder / "ca/ca.crt").stdout
    assert "sums of rounds 1 to 2: each is that of what its sites sign, and the model after" in said
    assert check_sums(found, folder) == Sums([1, 2], [], models=True)
    file = folder / "round-000002.sum"
    true = RoundSum.read(file)
    other = true.total.copy()
    other[0] += np.uint64(1)
    one, *rest = true.sites
    stolen = true.sites | {one: replace(true.sites[one], sum_hash=true.sites[rest[0]].sum_hash)}
    masked = true.sites | {one: replace(true.sites[one], masked=bytes(32))}
    of_fewer = {name: true.sites[name] for name in rest}
    for spoilt in (
        RoundSum(other, true.sites),
        RoundSum(true.total, stolen),
        RoundSum(true.total, masked),
        RoundSum(true.total, of_fewer),
    ):
        file.write_bytes(spoilt.to_bytes())
        with pytest.raises(PassportError, match=r"of other updates|not that of what its sites sign"):
            check_sums(found, folder)
    (folder / "round-000001.sum").rename(file)  # whose sum is right, but is not this round's
    with pytest.raises(PassportError, match="of other updates"):
        check_sums(found, folder)
    file.unlink()
    assert "NOT CHECKED" in " ".join(check_sums(found, folder).lines())


def test_a_site_that_signs_the_hash_of_something_else_ends_the_round(passport, tiny_job) -> None:
    def lie(federated: Federated) -> None:
        federated.grid.changes = {11: another_hash}

    job = tiny_job(job_rounds=1, privacy_secure_aggregation=True, privacy_verifiable_sum=True)
    with pytest.raises(RunError, match="one of them sent something else than it signs"):
        passport(job, lie)


def another_hash(question: Message, honest: Message) -> list[Message]:
    if question.metadata.message_type == "train":
        arrays = honest.content[messages.ARRAYS]
        arrays[SUM_HASH] = to_array(view(arrays[SUM_HASH]) ^ np.uint8(1))
    return [honest]


def test_a_site_signs_nothing_that_it_did_not_do(passport, hospitals, tiny_job) -> None:
    job = tiny_job(job_rounds=1)
    _, federated = passport(job)
    other = tiny_job(job_rounds=1, job_seed=77)
    for wanted, run in ((job, "another-run"), (other, federated.run.path.name)):
        question = statement_request(wanted.canonical(), run, "", "")
        asked = Message(question, 10, f"query.{STATEMENT}")
        [reply] = federated.grid.answers([asked], Deadline(60.0), 0)
        assert reply.has_error()
        assert "no part in that run" in reply.error.reason


def test_a_job_that_is_denied_meanwhile_is_signed_no_more(passport, hospitals, tiny_job) -> None:
    def deny(federated: Federated) -> None:
        federated.grid.changes[10] = deny_after_the_test

    def deny_after_the_test(question: Message, honest: Message) -> list[Message]:
        config = question.content.get(messages.CONFIG, {})
        if config.get("split") == "test":
            hospitals.sites["alpha"].gate._book.decide(job.digest(), "denied", "somebody")
        return [honest]

    job = tiny_job(job_rounds=1)
    found, federated = passport(job, deny)
    assert found.content.without["alpha"] == "refused"
    assert "denied" in federated.run.read_description()["passport"]["without"]["alpha"]


def test_it_has_no_number_of_patients(passport, tiny_job) -> None:
    """It goes to whoever has the model, and `figures_for` lets such numbers go to the project at most."""
    found, _ = passport(tiny_job(job_rounds=1))
    signed = [
        found.content.model_dump(exclude={"job"}),
        *(one.model_dump() for one in found.statements.values()),
    ]
    assert not {"patients", "examples", "num_examples", "counts"} & set(keys_in(signed))


def keys_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        yield from keys_in(part)
