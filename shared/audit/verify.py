"""Checking an audit log: whether anything was changed, removed, inserted, reordered or cut off, and where."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.audit.fields import AuditError
from shared.audit.log import FIRST, PURPOSE, Entry, encode_key, log_files, parse_entry

_HEAD = re.compile(r"(\d{1,15}):([0-9a-f]{64})")


@dataclass(frozen=True)
class Problem:
    """Something wrong with a log.

    Attributes:
        file: Name of the file; empty where the whole log is meant.
        line: Counts from 1; 0 where the whole file is meant.
        what: One sentence.
    """

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        """Return ``file, line n: what``."""
        return f"{self.file}, line {self.line}: {self.what}" if self.file else self.what


def verify(folder: Path, public_key: ec.EllipticCurvePublicKey, head: str | None = None) -> list[Problem]:
    """Check every entry of a log; an empty list says that it is whole.

    Without a head from elsewhere it can't be seen that the newest entries were cut off.

    Args:
        folder: Holds the log's files.
        public_key: The key of the machine that writes the log. Earlier keys are known from the log itself: an
            entry that is signed by this key covers all before it.
        head: `AuditLog.head` as it was at some time, kept elsewhere.

    Raises:
        AuditError: The head is not one, or a file can't be read.
    """
    check = _Check(public_key, _parse_head(head))
    files = log_files(folder)
    try:
        for file in files:
            for number, line in enumerate(_lines(file), 1):
                check.line(file.name, number, line)
    except OSError as error:
        raise AuditError(f"can't be read ({error.strerror})", where=error.filename) from None
    if not files and head is None:
        return [Problem("", 0, "there is no audit log here")]
    return check.conclude()


def entries(folder: Path) -> Iterator[Entry]:
    """Yield the entries of a log that can be read, oldest first; nothing is checked."""
    for file in log_files(folder):
        for line in _lines(file):
            try:
                yield parse_entry(line)
            except ValueError:
                continue


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        yield from stream


def _parse_head(head: str | None) -> tuple[int, str] | None:
    if head is None:
        return None
    found = _HEAD.fullmatch(head)
    if found is None:
        raise AuditError("is not a head: it looks like 17:4b6f..., a number and 64 digits", where="--head")
    return int(found[1]), found[2]


class _Check:
    """Goes through a log line by line and remembers what the next one must be."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey, head: tuple[int, str] | None) -> None:
        self._anchor = public_key
        self._signer = public_key
        self._head = head
        self._seq = 0
        self._hash = FIRST
        self._broken = False  # an unreadable line stands for the entry that is missing then
        self._problems: list[Problem] = []

    def line(self, file: str, number: int, line: bytes) -> None:
        def note(what: str) -> None:
            self._problems.append(Problem(file, number, what))

        if not line.endswith(b"\n"):
            note("the line is not whole: a write was cut short, or the file was")
            return
        try:
            entry = parse_entry(line)
        except ValueError:
            note("the line was changed: it is not an entry any more")
            self._broken = True
            return
        intact = entry.content_hash() == entry.hash
        if not intact:
            note(f"entry {entry.seq} was changed: its hash is another one")
        if not self._is_signed(entry):
            note(f"entry {entry.seq} is not signed by the log's key")
        if what := self._order(entry, intact):
            note(what)
        if self._head is not None and entry.seq == self._head[0] and entry.hash != self._head[1]:
            note(f"entry {entry.seq} is not the one that the head names: the log was rewritten")
        if entry.seq > self._seq or self._seq == 0:
            self._seq, self._hash, self._broken = entry.seq, entry.hash, False

    def _order(self, entry: Entry, intact: bool) -> str | None:
        expected = self._seq + 1
        if entry.seq == expected:
            if entry.previous != self._hash and intact and not self._broken:
                return f"entry {entry.seq} does not follow the entry before it, which was replaced"
            return None
        if entry.seq < expected:
            return f"entry {entry.seq} stands behind entry {self._seq}: it was moved or inserted"
        if self._broken and entry.seq == expected + 1:
            return None
        missing = (
            f"entry {expected} is"
            if entry.seq == expected + 1
            else f"entries {expected} to {entry.seq - 1} are"
        )
        return f"{missing} missing before this one"

    def _is_signed(self, entry: Entry) -> bool:
        if "public_key" in entry.fields:
            named = _load(entry.fields["public_key"])
            if named is not None and _verifies(entry, named):
                self._signer = named
                return True
            return False
        return _verifies(entry, self._signer) or _verifies(entry, self._anchor)

    def conclude(self) -> list[Problem]:
        """Add what only the whole log shows."""
        if self._seq and encode_key(self._signer) != encode_key(self._anchor):
            self._problems.append(
                Problem("", 0, "the newest entries are signed by another key than the log's")
            )
        if self._head is not None and self._head[0] > self._seq:
            first, last = self._seq + 1, self._head[0]
            what = (
                f"the end was cut off: entries {first} to {last} are missing"
                if last > first
                else (f"the end was cut off: entry {last} is missing")
            )
            self._problems.append(Problem("", 0, what))
        return self._problems


def _load(text: object) -> ec.EllipticCurvePublicKey | None:
    try:
        key = serialization.load_der_public_key(base64.b64decode(str(text), validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _verifies(entry: Entry, key: ec.EllipticCurvePublicKey) -> bool:
    try:
        signature = base64.b64decode(entry.signature, validate=True)
        key.verify(signature, PURPOSE + entry.hash.encode(), ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError):
        return False
    return True
