"""The audit trail of the listeners: in order, complete for what was allowed, bounded for what was refused."""

import asyncio
from pathlib import Path

import pytest

from server.audit.log import create_audit_key, open_audit
from server.audit.trail import ENTRIES_A_WINDOW, WINDOW_S, AuditTrail
from shared.audit.verify import entries


class Log:
    def __init__(self) -> None:
        self.entries: list[tuple[str, dict[str, str]]] = []
        self.now = 1000.0

    def append(self, event: str, **fields: str) -> None:
        self.entries.append((event, fields))


def test_entries_keep_their_order() -> None:
    log = Log()
    trail = AuditTrail(log.append)

    async def record() -> None:
        for number in range(20):
            await trail.record("call", number=str(number))

    asyncio.run(record())
    trail.write("last")
    trail.close()
    assert [fields.get("number") for _, fields in log.entries] == [*map(str, range(20)), None]


def test_a_repeated_refusal_is_written_once_a_minute_and_counted() -> None:
    log = Log()
    trail = AuditTrail(log.append, clock=lambda: log.now)
    for _ in range(5):
        trail.refused("log-in-failed", "10.0.0.1", reason="x")
    trail.refused("log-in-failed", "10.0.0.2", reason="x")
    log.now += WINDOW_S
    trail.refused("log-in-failed", "10.0.0.1", reason="x")
    trail.close()
    assert [(fields["who"], fields["unwritten"]) for _, fields in log.entries] == [
        ("10.0.0.1", "0"),
        ("10.0.0.2", "4"),
        ("10.0.0.1", "0"),
    ]


def test_many_peers_write_only_so_much() -> None:
    log = Log()
    trail = AuditTrail(log.append, clock=lambda: log.now)
    for number in range(ENTRIES_A_WINDOW + 700):
        trail.refused("log-in-failed", f"peer-{number}")
    log.now += WINDOW_S
    trail.refused("log-in-failed", "peer-0")
    trail.close()
    assert len(log.entries) == ENTRIES_A_WINDOW + 1
    assert log.entries[-1][1]["unwritten"] == "700"


def test_what_can_not_be_written_is_told_to_whoever_waits() -> None:
    def full(event: str, **fields: str) -> None:
        raise OSError("no space left")

    trail = AuditTrail(full)
    with pytest.raises(OSError, match="no space"):
        trail.write("site-enrolled")
    trail.refused("log-in-failed", "10.0.0.1")
    trail.close()


REASONS = (
    *("self-signed certificate", "certificate has expired", "unable to get local issuer certificate"),
    *("certificate is not yet valid", "peer did not return a certificate", "expired", "revoked"),
    *(
        "unknown-certificate",
        "another-key",
        "used-token",
        "expired-invitation",
        "not-invited",
        "expired-token",
    ),
)


def test_each_refusal_of_one_peer_has_an_entry_that_says_why(tmp_path: Path) -> None:
    create_audit_key(tmp_path)
    trail = AuditTrail(open_audit(tmp_path).append)
    for reason in REASONS * 2:
        trail.refused("certificate-refused", "10.0.0.1", reason=reason)
    trail.close()
    found = [entry.fields.get("reason") for entry in entries(tmp_path / "audit")]
    assert found == [None, *REASONS]  # the first entry begins the log
