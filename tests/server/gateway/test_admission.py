"""Who gets past the sites' listener, and to which paths."""

import socket
import ssl
from contextlib import ExitStack

import pytest
from fastapi.routing import iter_route_contexts
from flwr.superlink.main import create_app

from server.gateway.sites import FLEET_PATHS

from .conftest import Ca, Credential, Federation, Upstream, post

FLOWER_PATHS = sorted({context.route.path for context in iter_route_contexts(create_app().routes)})
NOT_FOR_SITES = [path for path in FLOWER_PATHS if path.encode() not in FLEET_PATHS]
TRICKS = [
    "//v1/fleet/pull-messages",
    "/v1//fleet/pull-messages",
    "/v1/fleet/../control/list-nodes",
    "/v1/fleet/..%2fcontrol/list-nodes",
    "/v1/fleet/%2e%2e/control/list-nodes",
    "/v1%2ffleet/pull-messages",
    "/v1/fleet/pull%2dmessages",
    "/V1/fleet/pull-messages",
    "/v1/fleet/pull-messages/",
    "/v1/fleet/pull-messages?x=1",
    "/v1/fleet/pull-messages;x",
    "/v1/fleet/pull-messages#/v1/control/start-run",
    "/v1/fleet/",
    "/",
    "*",
    "https://127.0.0.1/v1/fleet/pull-messages",
    "/v1/fleet/pull-messages\\..\\control",
]


def test_the_list_is_flowers_fleet_but_for_registration() -> None:
    fleet = {path for path in FLOWER_PATHS if path.startswith("/v1/fleet/")}
    listed = {path.decode() for path in FLEET_PATHS}
    assert {path.split("/")[2] for path in FLOWER_PATHS if path.startswith("/v1/")} == {
        "fleet",
        "control",
        "runtime",
    }
    assert fleet - listed == {"/v1/fleet/register-node", "/v1/fleet/unregister-node"}
    assert listed <= fleet


def refused(federation: Federation, credential: Credential, request: bytes) -> int:
    with federation.connect(credential) as connection:
        connection.send(request)
        status, headers, _ = connection.answer()
        assert status == 0 or headers["connection"] == "close"
        assert connection.ended()
        return status


@pytest.mark.parametrize("path", [*NOT_FOR_SITES, *TRICKS])
def test_other_paths_are_refused(
    federation: Federation, site: Credential, upstream: Upstream, path: str
) -> None:
    assert refused(federation, site, post(path, site)) in {400, 404}
    assert upstream.paths == []


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "post"]
)
def test_other_methods_are_refused(
    federation: Federation, site: Credential, upstream: Upstream, method: str
) -> None:
    request = post("/v1/fleet/pull-messages", site).replace(b"POST", method.encode(), 1)
    assert refused(federation, site, request) == 405
    assert upstream.paths == []


def test_a_websocket_is_not_opened(federation: Federation, site: Credential) -> None:
    more = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n"
    )
    request = post("/v1/control/stream-logs", site, more=more).replace(b"POST", b"GET", 1)
    assert refused(federation, site, request) == 404


def handshake_fails(federation: Federation, credential: Credential | None) -> bool:
    """In TLS 1.3 a client learns of the refusal when it reads."""
    try:
        with federation.connect(credential) as connection:
            connection.send(b"GET / HTTP/1.1\r\n\r\n")
            return connection.sock.recv(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


@pytest.mark.parametrize(
    "kind", ["expired", "not yet valid", "of another federation", "self-made", "a server's", "none"]
)
def test_no_handshake_without_a_valid_certificate(
    federation: Federation, site: Credential, ca: Ca, kind: str
) -> None:
    other = Ca("test federation")  # the same name, another key
    made = {
        "expired": lambda: federation.credential("st-luke", days=(-10, -1)),
        "not yet valid": lambda: federation.credential("st-luke", days=(1, 10)),
        "of another federation": lambda: federation.credential("st-luke", ca=other),
        "self-made": lambda: Credential(other.key, other.certificate, federation.folder / "self-made"),
        "a server's": lambda: federation.credential("st-luke", server=True),
        "none": lambda: None,
    }[kind]()
    assert handshake_fails(federation, made)


def test_a_failed_handshake_is_in_the_audit_log(federation: Federation, site: Credential) -> None:
    handshake_fails(federation, None)
    while not federation.audit("handshake-refused"):
        assert federation.process.poll() is None
    assert federation.audit("handshake-refused")[0]["who"] == "127.0.0.1"


def test_tls_1_2_is_refused(federation: Federation, site: Credential) -> None:
    context = federation.context(site)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    address = ("127.0.0.1", federation.sites_port)
    with socket.create_connection(address) as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw, server_hostname="127.0.0.1")


@pytest.mark.parametrize("path", ["/v1/fleet/pull-messages", "/v1/renew"])
def test_a_site_revoked_in_an_open_connection_is_refused_at_once(
    federation: Federation, site: Credential, upstream: Upstream, path: str
) -> None:
    revoked = federation.credential("st-paul")
    with federation.connect(revoked) as connection:
        connection.send(post(path, revoked, b"before"))
        assert connection.answer()[0] == 200
        federation.edit_site(revoked, state="revoked")
        connection.send(post(path, revoked, b"after"))
        assert connection.answer()[0] == 403
        assert connection.ended()
    assert refused(federation, revoked, post(path, revoked)) == 403


def test_a_certificate_that_is_not_registered_admits_nobody(federation: Federation, site: Credential) -> None:
    unknown = federation.credential("st-john", admitted=False)
    assert refused(federation, unknown, post("/v1/fleet/pull-messages", unknown)) == 403


def test_another_sites_node_key_is_refused_and_written_down(
    federation: Federation, site: Credential, upstream: Upstream
) -> None:
    thief, victim = federation.credential("thief"), federation.credential("victim")
    assert refused(federation, thief, post("/v1/fleet/pull-messages", victim)) == 403
    assert upstream.paths == []
    while not (
        entries := [entry for entry in federation.audit("site-request-refused") if entry["who"] == "thief"]
    ):
        assert federation.process.poll() is None
    assert entries[0]["reason"] == "the node key is not the certificate's"


@pytest.mark.parametrize(
    "header",
    [b"", b"flwr-public-key: \r\n", b"flwr-public-key: !!\r\n", b"flwr-public-key: " + b"A" * 9000 + b"\r\n"],
    ids=["none", "empty", "garbage", "long"],
)
def test_a_node_key_that_is_missing_or_wrong_is_refused(
    federation: Federation, site: Credential, upstream: Upstream, header: bytes
) -> None:
    line = b"flwr-public-key: " + site.node_key + b"\r\n"
    request = post("/v1/fleet/pull-messages", site).replace(line, header)
    assert refused(federation, site, request) == 403
    assert upstream.paths == []


def test_a_site_with_which_no_protocol_is_shared_is_turned_away(
    federation: Federation, site: Credential, upstream: Upstream
) -> None:
    later = b"User-Agent: wardround/9.0.0 protocol/7-9\r\n"
    assert refused(federation, site, post("/v1/fleet/pull-messages", site, more=later)) == 426
    assert upstream.paths == []


def test_two_node_keys_are_refused(federation: Federation, site: Credential, upstream: Upstream) -> None:
    victim = federation.credential("victim")
    line = b"flwr-public-key: " + victim.node_key + b"\r\n"
    assert refused(federation, site, post("/v1/fleet/pull-messages", site, more=line)) == 400
    assert upstream.paths == []


def test_only_what_flower_needs_is_passed_on(
    federation: Federation, site: Credential, upstream: Upstream
) -> None:
    more = (
        b"Cookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\nflwr-task-token: t\r\n"
        b"Connection: flwr-timestamp\r\nTE: trailers\r\n"
    )
    with federation.connect(site) as connection:
        connection.send(post("/v1/fleet/get-run", site, more=more + b"flwr-timestamp: now\r\n"))
        assert connection.answer()[0] == 200
    passed = set(upstream.headers) - {"host", "connection", "user-agent"}
    assert passed == {
        "accept",
        "accept-encoding",
        "content-length",
        "content-type",
        "flwr-public-key",
        "flwr-timestamp",
    }


def test_a_site_has_only_so_many_connections(federation: Federation, site: Credential) -> None:
    crowd = federation.credential("crowd")
    with ExitStack() as stack:
        for _ in range(8):
            connection = stack.enter_context(federation.connect(crowd))
            connection.send(post("/v1/fleet/get-run", crowd))
            assert connection.answer()[0] == 200
        one_more = stack.enter_context(federation.connect(crowd))
        assert one_more.ended()
        other = stack.enter_context(federation.connect(site))
        other.send(post("/v1/fleet/get-run", site))
        assert other.answer()[0] == 200


def test_an_address_has_only_so_many_handshakes_and_not_for_long(
    federation: Federation, site: Credential
) -> None:
    address = ("127.0.0.1", federation.sites_port)
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(address, 10, source_address=("127.0.0.9", 0)))
            for _ in range(5)
        ]
        # Those who are silent do not hold up others.
        other = stack.enter_context(federation.connect(site))
        other.send(post("/v1/fleet/get-run", site))
        assert other.answer()[0] == 200
        # The fifth is dropped at once, the others when their time is over.
        for connection in reversed(silent):
            assert connection.recv(1) == b""
