"""A worker on another machine: the service books what it does, and the node has none of the books."""

import errno
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import RecordDict

from client.guard.books_elsewhere import answers_of, books_elsewhere
from client.guard.ledger import Ledger
from client.guard.sum_book import SumBook, Summed
from client.settings.site import load_site
from client.work.client_app import make_app, read_visit
from client.work.hospital import Site
from client.work.run_store import RunStore
from client.work.warm_networks import Workshop
from client.workers import questions
from client.workers.questions import TOLD, Desk, Questions
from shared.audit.verify import entries, verify
from shared.files import replace_file
from shared.job.schema import JobSpec
from shared.pki.certificates import CredentialError, load_key
from shared.privacy.secagg.errors import SecureAggregationError
from shared.wire import messages
from shared.wire.site_states import SiteState
from tests.client.conftest import OPEN, GuardedSite

PRIVATE = {"privacy_mechanism": "dp-sgd", "privacy_noise_multiplier": 2.0, "strategy_weight": "equal"}
CAP = """approval = "automatic"
[policy.privacy.marks]
epsilon = 2.0
delta = 1e-5
"""


def asked(job: JobSpec) -> RecordDict:
    return messages.describe_request(job.canonical())


class Node(GuardedSite):
    """A guarded site whose worker has a folder of its own, as on another machine."""

    def restart(self) -> None:
        config = load_site(self.folder / "site.toml")
        self.node, jobs = self.folder.parent / "node", self.folder / "job"
        jobs.mkdir(exist_ok=True)
        self.desk = Desk(jobs, answers_of(self.folder, config))
        (self.node / "keys").mkdir(parents=True)
        shutil.copy(self.folder / "keys" / "cohort.key", self.node / "keys")
        self.ask_service = Questions(jobs).ask
        self.books = books_elsewhere(self.node, self.ask_service)
        self.site = Site(
            config,
            Workshop(torch.device("cpu")),
            gate=self.books.gate,
            cohort=self.books.cohort,
            sums=self.books.sums,
            store=RunStore(self.node / "kept"),
        )
        self._app = make_app(self.site)


@pytest.fixture
def node(make_site) -> Iterator[Node]:
    made = Node(make_site().folder, OPEN + CAP)
    yield made
    made.desk.close()


def test_what_a_node_trains_is_charged_and_written_down_by_the_service(node, job_of) -> None:
    job = job_of(**PRIVATE)
    assert node.describe(job) == ""
    assert node.train(job) == ""
    assert node.evaluate(job) == ""
    assert [row.rounds for row in Ledger.of(node.folder).accounts()] == [1]
    key = load_key(node.folder / "keys" / "site.key").public_key()
    assert verify(node.folder / "audit", key) == []
    events = [entry.event for entry in entries(node.folder / "audit")]
    assert events.count("privacy-spent") == 1
    assert events.count("reply-sent") == 3
    # Neither ledger nor log nor approvals, and not the site's key.
    assert sorted(path.name for path in node.node.rglob("*") if path.is_file()) == ["cohort.key"]


def test_what_the_books_refuse_is_refused_in_their_words(node, job_of) -> None:
    costly = job_of(**{**PRIVATE, "privacy_noise_multiplier": 0.3})
    assert "epsilon 2 at delta 1e-05" in node.train(costly)
    assert Ledger.of(node.folder).accounts() == []
    denied = job_of(**PRIVATE, job_seed=99)
    node.book.meet(denied, "")
    node.book.decide(denied.digest(), "denied", "it")
    reply = node.send("train", denied)
    assert (reply.error.code, "has denied this job" in reply.error.reason) == (int(SiteState.DENIED), True)
    with pytest.raises(CredentialError, match=r"site\.crt"):
        node.books.gate.signed(read_visit(asked(denied), "statement", 7), "layout")
    sites = ("here", "there", "elsewhere")
    node.books.sums.sets.take("marks: train", sites, "f" * 64)
    with pytest.raises(SecureAggregationError, match="summed before over other sites"):
        node.books.sums.sets.take("marks: train", (*sites, "fourth"), "e" * 64)


def test_sums_are_remembered_by_the_service_as_by_a_worker_beside_it(node, job_of) -> None:
    job, model = job_of(), np.arange(9, dtype=np.float32)
    local = SumBook(node.folder / "state.sqlite")
    sketch = node.books.sums.sketch(model)
    assert sketch == local.sketch(model)
    summed = Summed.of(job, "train", 1, sketch, "manifest.csv")
    node.books.sums.take(summed, {"here": 2, "there": 1})
    with pytest.raises(SecureAggregationError, match="summed before over other sites"):
        local.take(summed, {"here": 1, "there": 1})
    node.books.gate.unmasked(read_visit(asked(job), "reveal", 7), 3)
    [entry] = [entry for entry in entries(node.folder / "audit") if entry.event == "sum-unmasked"]
    assert entry.fields["sites"] == 3


def test_a_node_reaches_nothing_but_what_is_offered(node, job_of) -> None:
    for book, name in (("gate", "_ledger"), ("sums", "__init__"), ("cohort", "accept"), ("keys", "read")):
        said = node.ask_service(json.dumps([book, name, "{}"]).encode())
        assert json.loads(said) == {"error": {"kind": "fault"}}
    assert json.loads(node.ask_service(b"cos\nsystem\n(S'true'\ntR.")) == {"error": {"kind": "fault"}}


def test_a_question_is_answered_once_however_often_it_is_read_and_the_disk_may_be_full(
    tmp_path, monkeypatch
) -> None:
    asked: list[bytes] = []
    full = threading.Event()

    def answer(question: bytes) -> bytes:
        asked.append(question)
        full.set()
        return question.upper()

    def write(path: Path, content: bytes, **options: bool) -> None:
        if full.is_set() and path.name == TOLD:
            full.clear()
            raise OSError(errno.ENOSPC, "full")
        replace_file(path, content, **options)

    monkeypatch.setattr(questions, "replace_file", write)
    desk, worker = Desk(tmp_path, answer), Questions(tmp_path)
    assert [worker.ask(text) for text in (b"one", b"two\nlines")] == [b"ONE", b"TWO\nLINES"]
    desk.close()
    assert asked == [b"one", b"two\nlines"]
