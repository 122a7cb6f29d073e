"""More connections than places: strangers make room, and who is known stays."""

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.folder.limits import Limits
from server.gateway.address_groups import block_of, network_of
from server.gateway.connection_slots import Place, Places
from tests.server.gateway.conftest import Ca, Connection, Federation, Upstream, gateway, post

VIEWER = "v" * 43
FEW = {"connections": 32, "connections_each": 8, "handshakes_each": 8, "idle_s": 60.0, "grace_s": 60.0}
STRANGERS = [f"127.0.1.{number}" for number in range(1, 9)]
SLOW_BODY = b"POST /v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-length: 30000\r\n\r\n{"


@pytest.mark.parametrize(
    ("address", "network", "block"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/48"),
    ],
)
def test_what_counts_as_one_peer(address: str, network: str, block: str) -> None:
    assert (network_of(address), block_of(address)) == (network, block)


class Crowd:
    """Places with a clock that the test sets; remembers who was sent away."""

    def __init__(self, **limits: int) -> None:
        self.now = 0.0
        self.dropped: list[Place] = []
        self.places = Places(Limits(**limits), lambda _: None, lambda: self.now)

    def come(self, address: str, owner: bytes | None = None, *, is_open: bool = True) -> Place:
        place = self.places.take(address)
        place.drop = lambda: self.dropped.append(place)
        if is_open:
            self.places.open(place)
        if owner:
            self.places.claim(place, owner)
        return place


def test_the_network_with_the_most_makes_room_and_silent_ones_first() -> None:
    crowd = Crowd(connections=6)
    lone = crowd.come("192.0.2.1", is_open=False)
    first, silent, third = (crowd.come("198.51.100.1", is_open=number != 1) for number in range(3))
    pair = [crowd.come("203.0.113.1"), crowd.come("203.0.113.2")]
    crowd.now = 60
    crowd.places.answered(first)
    crowd.come("192.0.2.200")
    assert crowd.dropped == [silent]
    crowd.now = 120
    crowd.come("192.0.2.201")
    assert crowd.dropped == [silent, third]
    assert not lone.is_left
    assert not any(place.is_left for place in pair)


def test_who_came_this_moment_is_not_the_first_to_go() -> None:
    crowd = Crowd(connections=4)
    old = crowd.come("192.0.2.1")
    crowd.now = 60
    for _ in range(3):
        crowd.come("198.51.100.1", is_open=False)
    crowd.come("203.0.113.1")
    assert crowd.dropped == [old]


def test_an_ipv6_network_has_the_places_of_one_peer() -> None:
    crowd = Crowd(connections_each=4, handshakes_each=4)
    for number in range(10):
        crowd.come(f"2001:db8::{number:x}")
    assert len(crowd.dropped) == 6
    for number in range(10):
        crowd.come(f"2001:db8::{number:x}", is_open=False)
    assert len(crowd.dropped) == 12


def test_a_person_with_too_many_connections_is_a_stranger_with_the_next() -> None:
    crowd = Crowd(connections=8, connections_each=2)
    known = [crowd.come("192.0.2.1", b"ada") for _ in range(2)]
    third = crowd.come("192.0.2.2")
    assert not crowd.places.claim(third, b"ada")
    crowd.now = 60
    for number in range(20):
        crowd.come(f"198.51.100.{number}")
    assert third.is_left
    assert not any(place.is_left for place in known)
    crowd.places.claim(known[0], None)  # a request without the token
    for number in range(20):
        crowd.now += 60
        crowd.come(f"10.{number}.0.1")
    assert known[0].is_left
    assert not known[1].is_left


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(0, 4)), max_size=150))
def test_there_is_always_room_and_the_known_keep_theirs(steps: list[tuple[int, int, int]]) -> None:
    crowd = Crowd(connections=12, connections_each=4, handshakes_each=3)
    there: list[Place] = []
    owners = (None, b"a", b"b", b"c", b"d")
    for what, who, whose in steps:
        crowd.now += 1
        kept = [place for place in there if place.is_kept]
        if what <= 1:
            newcomer = crowd.come(f"10.0.{who % 3}.{who}", is_open=what == 1)
            assert not newcomer.is_left
            there.append(newcomer)
            assert not any(place.is_left for place in kept)
        elif there:
            place = there[who % len(there)]
            if what == 2:
                crowd.places.leave(place)
            elif not place.is_left and place.is_open and what == 3:
                crowd.places.claim(place, owners[whose])
            elif not place.is_left:
                crowd.places.answered(place)
        there = [place for place in there if not place.is_left]
        assert len(there) <= 12
        assert sum(place.is_kept for place in there) <= 9
        for owner in owners[1:]:
            assert sum(place.owner == owner for place in there) <= 4


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory, ca: Ca, upstream: Upstream) -> Iterator[Federation]:
    """A gateway with few places."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "limits.json").write_text(json.dumps(FEW), encoding="utf-8")
    with gateway(folder, ca, upstream) as running:
        yield running


def request(token: str = "") -> bytes:
    line = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET /v1/runs HTTP/1.1\r\nHost: x\r\n{line}\r\n".encode()


def test_slow_strangers_do_not_shut_people_out(federation: Federation) -> None:
    context = federation.context(None)
    with ExitStack() as stack:
        known = stack.enter_context(federation.connect(None, people=True))
        known.send(request(VIEWER))
        assert known.answer()[0] == 200
        for source in STRANGERS * 8:  # twice as many as there are places
            raw = socket.create_connection(
                ("127.0.0.1", federation.people_port), 20, source_address=(source, 0)
            )
            stack.enter_context(raw)
            with suppress(OSError):
                slow = stack.enter_context(context.wrap_socket(raw, server_hostname="127.0.0.1"))
                slow.sendall(SLOW_BODY)
        for _ in range(10):
            with federation.connect(None, people=True) as honest:
                honest.send(request(VIEWER))
                assert honest.answer()[0] == 200
        known.send(request(VIEWER))
        assert known.answer()[0] == 200
    assert federation.audit("connection-dropped")


def test_silent_strangers_do_not_shut_sites_out(federation: Federation) -> None:
    site = federation.credential("st-mary")
    with ExitStack() as stack:
        known = stack.enter_context(federation.connect(site))
        known.send(post("/v1/fleet/get-run", site))
        assert known.answer()[0] == 200
        for source in STRANGERS * 8:
            stack.enter_context(
                socket.create_connection(("127.0.0.1", federation.sites_port), 20, source_address=(source, 0))
            )
        for _ in range(10):
            with federation.connect(site) as honest:
                honest.send(post("/v1/fleet/get-run", site))
                assert honest.answer()[0] == 200
        known.send(post("/v1/fleet/get-run", site))
        assert known.answer()[0] == 200


def test_strangers_of_one_address_make_room_for_each_other(federation: Federation) -> None:
    context = federation.context(None)
    with ExitStack() as stack:

        def come() -> Connection:
            raw = socket.create_connection(
                ("127.0.0.1", federation.people_port), 20, source_address=("127.0.2.1", 0)
            )
            stack.enter_context(raw)
            wrapped: ssl.SSLSocket = context.wrap_socket(raw, server_hostname="127.0.0.1")
            return Connection(stack.enter_context(wrapped))

        crowd = [come() for _ in range(9)]
        assert crowd[0].ended()
        crowd[8].send(request())
        assert crowd[8].answer()[0] == 401


def test_who_is_sent_away_in_the_handshake_learns_of_it(federation: Federation) -> None:

    with ExitStack() as stack:
        silent = [
            stack.enter_context(
                socket.create_connection(
                    ("127.0.0.1", federation.sites_port), 20, source_address=("127.0.3.1", 0)
                )
            )
            for _ in range(12)
        ]
        for connection in silent[:4]:
            assert connection.recv(1) == b""
