"""A federation in one process whose sites can be made to misbehave."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, RecordDict
from numpy.typing import NDArray

from client.data.manifest.splits import CohortKey
from client.guard.cohort import Cohort
from client.guard.gate import Gate
from client.guard.job_book import JobBook
from client.guard.ledger import LEDGER, Ledger
from client.guard.sum_book import SumBook
from client.settings.policy import PolicyTable
from client.settings.site import DatasetTable, SiteConfig, SiteTable
from client.training.device import open_device
from client.work.client_app import make_app
from client.work.hospital import Site
from client.work.run_store import RunStore
from client.work.warm_networks import Workshop
from server.rounds import deadline
from server.rounds.deadline import Deadline
from server.rounds.loop import RoundLoop
from server.rounds.site_grid import SiteGrid
from server.rounds.site_heads import SiteHeads
from server.runs.events import Event
from server.runs.folder import RunFolder
from server.runs.participation import Participation
from shared.audit.log import AuditLog
from shared.audit.verify import entries
from shared.flower import assign_id, become, empty_run
from shared.networks.build import build_model
from shared.pki.certificates import new_key
from shared.strategies.exact_mean import ExactMean
from shared.wire import messages
from shared.wire.flat_array import array_records
from simulate.session.credentials import simulated_credentials

Change = Callable[[Message, Message], Iterable[Message]]
"""(question, honest answer) -> the answers that are sent."""

# These hospitals have a single patient on each side.
FEW = {"min_group": 1, "min_patients_in_update": 1, "share_site_metrics": True}


class StillClock:
    """Goes on where it is put forward and not else: no deadline is met because a machine is slow."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class SmallGrid(SiteGrid):
    """Carries messages to real ClientApps, and their answers through a hand that may change them.

    Args:
        sites: They get the node ids 10, 11, ...
        clock: Of deadlines; goes on while a site that is asleep is waited for.
        delivery: Says in which order questions are answered.
    """

    def __init__(
        self,
        sites: Iterable[Site],
        clock: StillClock,
        delivery: Callable[[list[Message]], list[Message]] = list,
    ) -> None:
        become(1)
        self._clock = clock
        self.changes: dict[int, Change] = {}
        self.timeouts: list[float] = []
        self.states: dict[int, RecordDict] = {}
        self.asleep: set[int] = set()  # alive, and no answer comes before the deadline
        self.sites = sites = list(sites)
        self._names = {10 + number: site.config.name for number, site in enumerate(sites)}
        self._apps = {10 + number: make_app(site) for number, site in enumerate(sites)}
        self._delivery = delivery
        self._run = empty_run()
        self._count = 0

    def set_run(self, run) -> None:
        self._run = run

    @property
    def run(self):
        return self._run

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        return list(self._apps)

    def push_messages(self, messages) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids) -> Iterable[Message]:
        raise NotImplementedError

    def send_and_receive(self, messages, *, timeout=None) -> Iterator[Message]:
        return self.answers(messages, Deadline(timeout), 0)

    def site_names(self) -> dict[int, str]:
        return self._names

    def answers(self, messages: Iterable[Message], deadline: Deadline, largest: int) -> Iterator[Message]:
        self.timeouts.append(round(deadline.left))
        questions = self._delivery(list(messages))
        for question in sorted(questions, key=lambda question: question.metadata.dst_node_id in self.asleep):
            if question.metadata.dst_node_id in self.asleep and question.metadata.message_type == "train":
                self._clock.now += deadline.left + 1.0  # past the end
            self._count += 1
            assign_id(question, str(self._count))
            node = question.metadata.dst_node_id
            answer = self._answer(node, question)
            if deadline.is_over:
                return
            yield from self.changes.get(node, lambda _, honest: [honest])(question, answer)

    def _answer(self, node: int, question: Message) -> Message:
        become(node)
        try:
            state = self.states.setdefault(node, RecordDict())
            context = Context(run_id=1, node_id=node, node_config={}, state=state, run_config={})
            return self._apps[node](arrived(question), context)
        finally:
            become(1)


def arrived(sent: Message) -> Message:
    """Return a message as a site gets it: with records of its own, which it may empty."""
    arrays = {key: ArrayRecord(dict(record)) for key, record in array_records(sent.content).items()}
    return Message(content=RecordDict({**sent.content, **arrays}), metadata=sent.metadata)


@dataclass
class Federated:
    """A run on a small Grid."""

    grid: SmallGrid
    run: RunFolder
    loop: RoundLoop
    events: list[Event] = field(default_factory=list)

    def failures(self) -> list[tuple[str, str, str]]:
        """Return site, phase and reason of each failure."""
        return [
            (event.site, event.phase, str(event.data["reason"]))
            for event in self.events
            if event.kind == "site_failed"
        ]


def make_sites(manifest: Path, names: Iterable[str], folder: Path) -> list[Site]:
    folder.mkdir(exist_ok=True)
    workshop = Workshop(open_device("cpu"))
    return [
        Site(
            SiteConfig(
                site=SiteTable(name=name, coordinator=None),
                datasets={"discs": DatasetTable(manifest=manifest, site=name)},
                policy=PolicyTable(distributed_noise=True, **FEW),
            ),
            workshop,
            gate=None,
            credentials=simulated_credentials(name),
            store=RunStore(folder / name),
            sums=SumBook(folder / f"{name}.sqlite"),
        )
        for name in names
    ]


def mean_update(federated: Federated, sites: Iterable[Site]) -> NDArray[np.float32]:
    """Return the model that the updates of round 1 give, each taken from its site in the open."""
    loop, job = federated.loop, federated.loop.job
    base = loop.layout.pack(build_model(job))
    config = messages.request_config(job.canonical(), loop.layout.digest(), 1)
    content = RecordDict({messages.ARRAYS: messages.vector_record(base), messages.CONFIG: config})
    request = messages.read_request(content)
    mean = ExactMean(loop._filter.size)
    for site in sites:
        update = site.train(request)
        weight = 1 if job.strategy.weight == "equal" else update.examples
        mean.add(site.part(request, update.vector), weight)
    return loop._filter.expand(mean.mean(), base)


@pytest.fixture
def federate(tiny_data, tmp_path, monkeypatch) -> Callable[..., Federated]:
    """Return a function that makes a federation of the tiny hospitals for a job; it is not strict."""
    clock = StillClock()
    monkeypatch.setattr(deadline, "time", clock)

    def make(
        job,
        *,
        delivery=list,
        run: RunFolder | None = None,
        manifest: Path = tiny_data,
        strict: bool = False,
        rehearsal: bool = True,
        heads: SiteHeads | None = None,
        repeats: Participation | None = None,
    ) -> Federated:
        events: list[Event] = []
        sites = make_sites(manifest, ("alpha", "beta", "gamma", "delta"), tmp_path / "kept")
        grid = SmallGrid(sites, clock, delivery)
        run = run or RunFolder.create(tmp_path / "runs", job)

        def listen(event: Event) -> None:
            events.append(event)
            if heads is not None:
                heads(event)

        loop = RoundLoop(
            grid, job, run, listen, heads=heads, strict=strict, repeats=repeats, rehearsal=rehearsal
        )
        return Federated(grid, run, loop, events)

    return make


@pytest.fixture
def logged(federate, tiny_data, tmp_path):
    """Return a function that makes a federation whose site alpha has a gate, and the entries of its log."""

    def make(job, manifest=tiny_data, **policy):
        config = SiteConfig(
            site=SiteTable(name="alpha", coordinator=None),
            datasets={"discs": DatasetTable(manifest=manifest, site="alpha")},
            policy=PolicyTable(approval="automatic", **FEW, **policy),
        )
        folder = tmp_path / "alpha"
        folder.mkdir()
        audit = AuditLog.open(folder / "audit", new_key())
        book, ledger = JobBook(folder / "state.sqlite"), Ledger(folder / LEDGER, audit)
        credentials = simulated_credentials("alpha")
        gate = Gate(
            config,
            book,
            audit,
            ledger,
            cohort=Cohort(CohortKey.drawn(job.job.seed)),
            identity=credentials.newest,
        )
        site = Site(config, Workshop(open_device("cpu")), gate=gate, credentials=credentials)
        federated = federate(job, manifest=manifest)
        federated.grid._apps[10] = make_app(site)
        return federated, lambda: [
            entry.fields | {"event": entry.event} for entry in entries(folder / "audit")
        ]

    return make
