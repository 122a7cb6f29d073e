"""A site that the coordinator turns away: it asks ever less often, and says so once each time."""

import logging
from types import SimpleNamespace

import httpx

from client.service.node import Node
from shared.flower.connection import RefusedError

DAY_S = 86_400


class Stop:
    """A day that passes in waiting alone."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def is_set(self) -> bool:
        return sum(self.waits) > DAY_S

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return self.is_set()


def refused(status: int) -> Stop:
    stop, nothing = Stop(), lambda *_, **__: None

    def activate(_: object) -> None:
        raise RefusedError(status, "the coordinator refuses this site")

    Node(
        "alpha",
        SimpleNamespace(activate=activate, leave=nothing),
        lambda: SimpleNamespace(warm_up=nothing, close=nothing),
        state=SimpleNamespace(node_id=1),
        presence=SimpleNamespace(tell=nothing),
        stop=stop,
    ).serve()
    return stop


def test_a_revoked_site_asks_ever_less_often(caplog):
    caplog.set_level(logging.INFO)
    waits = refused(httpx.codes.FORBIDDEN).waits
    assert waits[:4] == [5, 10, 20, 40]
    assert max(waits) == 900
    assert len(waits) < 110  # in a day
    assert len(caplog.records) == len(waits)


def test_a_site_whose_earlier_process_counts_as_online_comes_back_soon():
    assert set(refused(httpx.codes.PRECONDITION_FAILED).waits) == {5}
