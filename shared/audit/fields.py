"""What an entry of the audit log may hold: every event, and the fields that it has.

Nothing else can be written, so that no patient's data get into a log that many may read.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Mapping

from shared.errors import WardroundError
from shared.text.redact import GAP, redact

Value = str | int | float
LONGEST_TEXT = 300


class AuditError(WardroundError):
    """An audit log that can't be written or read, or an entry that it may not hold."""


def _matching(pattern: str) -> Callable[[object], Value]:
    """Return a check of a string; one that came from outside and does not fit is cleared, not refused."""
    compiled = re.compile(pattern)

    def check(value: object) -> Value:
        if not isinstance(value, str):
            raise TypeError
        return value if compiled.fullmatch(value) else _text(value)

    return check


def _text(value: object) -> Value:
    if not isinstance(value, str):
        raise TypeError
    return redact(value)[:LONGEST_TEXT]


def _count(value: object) -> Value:
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError
    return value


def _number(value: object) -> Value:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _address(value: object) -> Value:
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        return GAP


_NAME = _matching(r"[a-z0-9][a-z0-9._-]{0,62}")
_WORD = _matching(r"[a-z][a-z-]{0,40}")
_DIGEST = _matching(r"[0-9a-f]{64}")
_HEAD = _matching(r"\d{1,15}:[0-9a-f]{64}")
_TIME = _matching(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}\+00:00")
_KINDS: dict[str, Callable[[object], Value]] = {
    "address": _address,
    "approval": _WORD,
    "bytes": _count,
    "chain": _DIGEST,  # of the ledger, up to the entry
    "dataset": _NAME,
    "days": _count,
    "epsilon": _number,
    "examples": _count,
    "federation": _NAME,
    "head": _HEAD,
    "head_before": _HEAD,
    "file": _matching(r"audit-\d{12}\.jsonl"),
    "job": _DIGEST,
    "left": _number,
    "method": _matching(r"[A-Z]{3,7}"),
    "model": _DIGEST,
    "moment": _TIME,
    "name": _NAME,
    "noise_multiplier": _number,
    "path": _matching(r"/[a-z0-9/._-]{0,200}"),  # of a request to a listener
    "person": _NAME,
    "project": _NAME,
    "phase": _WORD,
    "priority": _WORD,
    "problem": _text,
    "public_key": _matching(r"[A-Za-z0-9+/]{160}"),
    "reason": _text,
    "researcher": _NAME,
    "role": _WORD,
    "round": _count,
    "rule": _matching(r"(policy|device|job)\.[a-z_]{1,30}(\.[a-z_]{1,30})?"),
    "run": _matching(r"[a-z0-9][a-z0-9._-]{0,150}|\d{1,20}"),
    "sample_rate": _number,
    "honest_sites": _count,
    "seconds": _number,
    "sequence": _count,
    "serial": _matching(r"[0-9a-f]{1,40}"),
    "sha256": _DIGEST,
    "site": _NAME,
    "signature": _matching(r"[A-Za-z0-9+/=]{100,200}"),
    "sites": _count,
    "split": _WORD,
    "status": _count,
    "steps": _count,
    "torn_bytes": _count,
    "unit": _WORD,
    "unwritten": _count,
    "user": _matching(r"[a-z_][a-z0-9_.-]{0,31}\$?"),
    "version": _matching(r"\d{1,4}(\.\d{1,4}){1,3}"),
    "who": _matching(r"[a-z0-9][a-z0-9._-]{0,62}|[0-9a-f.:]{2,45}"),
}

_CALL = (
    "address",
    "method",
    "path",
    "person",
    "role",
    "status",
    "who",
    "unwritten",
    "reason",
    "run",
    "job",
    "problem",
)
_RUN = ("run", "job", "person", "user")
_CREDENTIAL = ("site", "serial", "reason", "problem", "address", "who", "unwritten", "user")
EVENTS: dict[str, tuple[str, ...]] = {
    # of the log itself
    "log-started": ("public_key",),
    "key-changed": ("public_key",),
    "file-started": ("file", "public_key"),
    "torn-line-removed": ("torn_bytes", "sha256"),
    # of a site
    "service-started": ("version",),
    "service-stopped": (),
    "job-seen": ("job", "name", "researcher"),
    "job-approved": ("job", "user"),
    "job-denied": ("job", "user", "reason"),
    "privacy-spent": (
        "sequence",
        "moment",
        "dataset",
        "job",
        "run",
        "round",
        "unit",
        "noise_multiplier",
        "sample_rate",
        "honest_sites",
        "steps",
        "chain",
        "epsilon",
        "left",
    ),
    "ledger-repaired": ("sequence", "user"),
    "cohort-accepted": ("dataset", "user"),
    "counts-told": ("site", "dataset", "sha256", "bytes", "user"),  # by a site, and at the coordinator
    "counts-withdrawn": ("site", "dataset", "user"),
    "records-asked": ("dataset", "sha256", "user"),  # of the query
    "study-asked-for": ("sha256", "user"),
    "study-pulled": ("sha256", "examples", "bytes", "user"),  # by what stands for it
    "results-stored": ("sha256", "examples", "bytes", "user"),  # of the objects
    "study-not-pulled": ("sha256", "reason", "user"),
    "request-refused": ("job", "phase", "round", "researcher", "rule", "reason"),
    "statistics-taken": ("job", "sha256"),
    "sum-unmasked": ("job", "round", "sites"),
    "request-failed": ("job", "phase", "round", "researcher", "reason"),
    "reply-sent": (
        "job",
        "run",
        "phase",
        "round",
        "split",
        "researcher",
        "model",
        "bytes",
        "sha256",
        "examples",
    ),
    "statement-signed": ("job", "run", "researcher", "sha256"),
    "certificate-renewed": ("serial",),
    # of the coordinator
    "federation-founded": ("federation", "user"),
    "authority-renewed": ("sha256", "user"),
    "authority-replaced": ("sha256", "user"),
    "coordinator-moved": ("sha256", "user"),
    "backup-written": ("federation", "user"),
    "backup-restored": ("federation", "user"),
    "site-invited": ("site", "user"),
    "site-enrolled": ("site", "serial", "user"),
    "site-renewed": ("site", "serial"),
    "site-revoked": ("site", "user"),
    "site-head": ("site", "run", "head", "head_before", "signature"),
    "site-log-cut": ("site", "run", "head", "head_before"),
    "enrolment-refused": _CREDENTIAL,
    "renewal-refused": _CREDENTIAL,
    "certificate-refused": _CREDENTIAL,
    "handshake-refused": _CREDENTIAL,
    "connection-dropped": _CREDENTIAL,
    "site-request-refused": _CREDENTIAL,
    "project-added": ("project", "user"),
    "project-removed": ("project", "user"),
    "project-joined": ("project", "person", "site", "user"),
    "project-left": ("project", "person", "site", "user"),
    "person-added": ("person", "role", "user"),
    "person-removed": ("person", "user"),
    "token-refused": ("person", "reason", "who", "unwritten"),
    "run-submitted": (*_RUN, "project", "priority"),
    "run-resumed": _RUN,
    "run-stopped": _RUN,
    "run-fetched": _RUN,
    "run-removed": _RUN,
    "passport-written": ("run", "job", "sha256"),
    "call": _CALL,
    "call-without-log-in": _CALL,
    "log-in-blocked": _CALL,
    "log-in-failed": _CALL,
    "logged-in": _CALL,
    "logged-out": _CALL,
}


def checked_value(name: str, value: object) -> Value:
    """Return the value of a field as it may be told: texts, and names that do not look like one, are cleared.

    Raises:
        ValueError: There is no such field, or the value has another type.
    """
    try:
        return _KINDS[name](value)
    except (KeyError, TypeError):
        raise ValueError(f"'{name}' can't hold {type(value).__name__}") from None


def checked(event: str, fields: Mapping[str, object]) -> dict[str, Value]:
    """Return the fields as they may be written.

    Text passes `redact`; so does a name or a digest that does not look like one.

    Raises:
        AuditError: The event or a field is not on the list, or a value has another type.
    """
    if event not in EVENTS:
        raise AuditError(f"has no event '{event}'", where="audit log")
    written = {}
    for name, value in fields.items():
        if name not in EVENTS[event]:
            raise AuditError(f"may not hold '{name}'", where=f"audit log, event '{event}'")
        try:
            written[name] = _KINDS[name](value)
        except TypeError:
            raise AuditError(f"'{name}' has the wrong type", where=f"audit log, event '{event}'") from None
    return written
