"""Sites that lie, and a line that fails, over a real gateway and SuperLink."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from numpy.typing import NDArray

from client.training.device import open_device
from client.work.warm_networks import Workshop
from server.runs.events import Event
from shared.flower.fleet import Fleet, Ticket
from shared.wire.messages import VECTOR
from simulate.federation.faulty_line import Line
from simulate.federation.light_nodes import LightHost, LightNode
from simulate.federation.processes import LocalFederation

pytestmark = pytest.mark.slow

HONEST = ("alpha", "beta", "gamma")
make_host = partial(LightHost, workshop=Workshop(open_device("cpu")), turn=threading.Lock())


@pytest.fixture(scope="module")
def federation(tiny_data: Path, tmp_path_factory) -> Iterator[LocalFederation]:
    """Give a federation with three honest sites; 'delta' has joined, and is not there."""
    with ExitStack() as stack:
        running = stack.enter_context(LocalFederation(tmp_path_factory.mktemp("federation")))
        for site in HONEST:
            stack.enter_context(LightNode(running.enrol(site, {"discs": tiny_data}), make_host))
        running.enrol("delta", {"discs": tiny_data})
        running.await_online(set(HONEST))
        yield running


def spoiled(value: float):
    def spoil(vector: NDArray) -> NDArray:
        changed = vector.copy()
        changed[3] = value
        return changed

    return spoil


LIES = {
    1: (spoiled(np.nan), "numbers that are not finite"),
    2: (spoiled(np.inf), "numbers that are not finite"),
    3: (spoiled(1e30), "a number too large"),
    4: (lambda vector: vector[:-1], "a vector of shape"),
    5: (lambda vector: vector.astype(np.float64), "float64"),
}


class Liar(LightHost):
    """Sends other updates than it has trained."""

    def handle(self, call):
        payload, arrays = super().handle(call)
        if call.kind == "train":
            lie, _ = LIES[call.payload["records"]["config"][1]["round"]]
            arrays = {f"arrays/{VECTOR}": lie(arrays[f"arrays/{VECTOR}"])}
        return payload, arrays


class Replaying(Fleet):
    """Answers the training of round 2 with an update that says it is for round 1."""

    asked: list[Message]

    def pull(self) -> Ticket | None:
        ticket = super().pull()
        if ticket is not None and ticket.head.metadata.message_type == "train":
            self.asked = [*getattr(self, "asked", []), ticket.head]
        return ticket

    def push(self, reply: Message, seconds: float) -> None:
        if reply.metadata.message_type == "train" and len(self.asked) == 2:
            reply = Message(reply.content, reply_to=self.asked[0])
        super().push(reply, seconds)


class Cutting(LightHost):
    """Cuts its line as it trains in round 2, for so long that its answer meets the cut."""

    def __init__(self, config, line: Line) -> None:
        super().__init__(config, *make_host.args, **make_host.keywords)
        self._line = line

    def handle(self, call):
        if call.kind == "train" and call.payload["records"]["config"][1]["round"] == 2:
            self._line.cut()
            threading.Timer(5.0, self._line.mend).start()
        return super().handle(call)


def failures(events: list[Event]) -> dict[int, tuple[str, str]]:
    return {
        event.round: (event.site, str(event.data["reason"]))
        for event in events
        if event.kind == "site_failed"
    }


def trained(federation: LocalFederation, run: str, site: str) -> list[str]:
    rows = (federation.folder / "coordinator" / "runs" / run / "sites.csv").read_text().splitlines()
    return [row.split(",")[0] for row in rows if row.split(",")[1:3] == [site, "train"]]


def status(federation: LocalFederation, name: str) -> str:
    return next(row.status for row in federation.runs().list() if row.name == name)


def test_lies_are_left_out_with_their_reason_and_the_rounds_go_on(federation, tiny_job):
    def liar(config):
        return Liar(config, *make_host.args, **make_host.keywords)

    with LightNode(federation.folder / "delta", liar):
        federation.await_online({"delta"})
        runs = federation.runs()
        name = runs.submit(tiny_job(job_rounds=len(LIES)))
        told = failures(list(runs.follow(name)))
    assert status(federation, name) == "finished"
    assert set(told) == set(LIES)
    for round_, (_, reason) in LIES.items():
        assert told[round_][0] == "delta"
        assert reason in told[round_][1]
    assert trained(federation, name, "delta") == []
    assert trained(federation, name, "alpha") == [str(round_) for round_ in LIES]


def test_an_answer_for_another_round_counts_in_none(federation, tiny_job):
    with LightNode(federation.folder / "delta", make_host, Replaying):
        federation.await_online({"delta"})
        runs = federation.runs()
        name = runs.submit(tiny_job(job_rounds=3))
        events = list(runs.follow(name))
    assert status(federation, name) == "finished"
    assert failures(events) == {}
    assert ("delta", 2, "train") in [
        (one.site, one.round, one.phase) for one in events if one.kind == "site_late"
    ]
    assert trained(federation, name, "delta") == ["1", "3"]


def test_a_site_behind_a_bad_line_loses_nothing(federation, tiny_job):
    with Line("127.0.0.1", federation.sites_port) as line:
        federation.reroute("delta", line.port)
        line.rate, line.delay = 1e6 / 8, 0.03
        with LightNode(federation.folder / "delta", lambda config: Cutting(config, line)):
            federation.await_online({"delta"})
            runs = federation.runs()
            name = runs.submit(tiny_job(strategy_min_sites=4))
            events = list(runs.follow(name))
    assert status(federation, name) == "finished"
    assert failures(events) == {}
    assert trained(federation, name, "delta") == ["1", "2", "3"]
    text = (federation.folder / "coordinator" / "runs" / name / "metrics.csv").read_text()
    assert json.dumps(text).count("\\n") == 4
