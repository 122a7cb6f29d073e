"""The people's listener: tokens, roles, failed log-ins and the audit log."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.gateway.people import FAILURES, FAILURES_S, Failures

from .conftest import Ca, Federation, Upstream, gateway

VIEWER, RESEARCHER, OPERATOR = (letter * 43 for letter in "vro")


@pytest.fixture
def federation(tmp_path: Path, ca: Ca, upstream: Upstream) -> Iterator[Federation]:
    """A gateway of its own for each test: failed log-ins are counted."""
    with gateway(tmp_path, ca, upstream) as running:
        yield running


def ask(
    federation: Federation, path: str, token: str = "", body: bytes = b"", *, scheme: str = "Bearer"
) -> tuple[int, dict[str, str], bytes]:
    method = "POST" if body else "GET"
    line = f"Authorization: {scheme} {token}\r\n" if token else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{line}Content-Length: {len(body)}\r\n\r\n"
    with federation.connect(None, people=True) as connection:
        with contextlib.suppress(OSError):  # what is too large may be refused before all of it was sent
            connection.send(head.encode(), body)
        return connection.answer()


def test_roles_build_on_each_other(federation: Federation) -> None:
    assert ask(federation, "/v1/runs", VIEWER)[::2] == (200, b"hello a-viewer")
    assert ask(federation, "/v1/submit", VIEWER, b"job")[0] == 403
    assert ask(federation, "/v1/submit", RESEARCHER, b"job")[::2] == (200, b"a-researcher sent 3")
    assert ask(federation, "/v1/submit", OPERATOR, b"job")[0] == 200
    assert ask(federation, "/v1/runs", OPERATOR, scheme="bearer")[0] == 200


def test_every_call_is_in_the_audit_log_before_its_answer_and_no_token_is(federation: Federation) -> None:
    ask(federation, "/v1/runs", VIEWER)
    ask(federation, "/v1/submit", VIEWER, b"job")
    ask(federation, "/v1/nothing", VIEWER)
    calls = [(entry["person"], entry["path"], entry["status"]) for entry in federation.audit("call")]
    assert calls == [
        ("a-viewer", "/v1/runs", "200"),
        ("a-viewer", "/v1/submit", "403"),
        ("a-viewer", "/v1/nothing", "404"),
    ]
    for name in ("audit.jsonl", "coordinator.log"):
        assert VIEWER not in (federation.folder / name).read_text(encoding="utf-8")


def test_nothing_but_health_and_enrolment_without_a_token(federation: Federation) -> None:
    assert ask(federation, "/v1/health")[::2] == (200, b'{"status":"ok"}')
    assert ask(federation, "/v1/enrol", body=b"token")[0] == 403
    for path in ("/v1/runs", "/v1/nothing", "/", "/v1/fleet/pull-messages", "/v1/control/list-nodes"):
        status, headers, _ = ask(federation, path)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")


def test_fleet_and_control_paths_are_not_behind_a_token_either(federation: Federation) -> None:
    for path in ("/v1/fleet/pull-messages", "/v1/control/start-run", "/v1/runtime/get-nodes", "/v1/renew"):
        assert ask(federation, path, OPERATOR, b"x")[0] == 404


@pytest.mark.parametrize(
    ("token", "scheme"),
    [("x" * 43, "Bearer"), (VIEWER[:-1], "Bearer"), (VIEWER, "Basic"), ("\u00e9", "Bearer")],
)
def test_wrong_tokens_are_slowed_down_and_shut_nobody_else_out(
    federation: Federation, token: str, scheme: str
) -> None:
    for _ in range(FAILURES):
        assert ask(federation, "/v1/runs", token, scheme=scheme)[0] == 401
    status, headers, _ = ask(federation, "/v1/runs", token, scheme=scheme)
    assert status == 429
    assert 0 < int(headers["retry-after"]) <= FAILURES_S + 1
    assert ask(federation, "/v1/runs")[0] == 429, "nothing is looked at"
    # Behind the same address:
    assert ask(federation, "/v1/runs", VIEWER)[0] == 200
    assert ask(federation, "/v1/submit", RESEARCHER, b"job")[0] == 200
    assert ask(federation, "/v1/submit", VIEWER, b"job")[0] == 403
    assert ask(federation, "/v1/health")[0] == 200
    for event in ("log-in-failed", "log-in-blocked"):
        assert len(federation.audit(event)) == 1, "an attacker must not fill the disk"


def test_guessed_invitations_are_slowed_down_and_a_good_one_is_still_heard(federation: Federation) -> None:
    for _ in range(FAILURES):
        assert ask(federation, "/v1/enrol", body=b"guess")[0] == 403
    assert federation.audit("log-in-blocked") == []
    assert ask(federation, "/v1/enrol", body=b"guess")[0] == 403
    assert len(federation.audit("log-in-blocked")) == 1
    assert ask(federation, "/v1/enrol", body=b"invited")[0] == 200
    assert ask(federation, "/v1/runs")[0] == 429


def test_a_body_too_large_is_refused(federation: Federation) -> None:
    assert ask(federation, "/v1/submit", RESEARCHER, bytes(2**20 + 1))[0] == 413
    assert ask(federation, "/v1/runs", "v" * 20000)[0] in {400, 431}
    assert ask(federation, "/v1/runs", VIEWER)[0] == 200


def test_failures_are_forgotten_and_ipv6_networks_count_as_one() -> None:
    now = 100.0
    failures = Failures(lambda: now)
    for host in range(FAILURES):
        failures.add(f"2001:db8::{host:x}")
    assert failures.wait("2001:db8::ffff") == pytest.approx(FAILURES_S)
    assert failures.wait("2001:db8:0:1::1") == 0
    for _ in range(FAILURES):
        failures.add("::ffff:192.0.2.1")  # IPv4, at a listener for both
    assert failures.wait("192.0.2.1") == pytest.approx(FAILURES_S)
    assert failures.wait("::ffff:192.0.2.2") == 0
    now += FAILURES_S
    assert failures.wait("2001:db8::ffff") == 0
