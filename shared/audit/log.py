"""The audit log: one JSON line an event, each chained to the one before by its hash, each signed.

An entry's hash is the SHA-256 of its canonical JSON without `hash` and `signature`; it covers the hash of the
entry before, so that whoever trusts one entry can check all before it (Haber & Stornetta 1991). The signature
(ECDSA, P-384, SHA-384) is that of the machine that writes. What is cut off at the end shows only against a
head that is kept elsewhere: see `AuditLog.head`. Checking a log is in `shared/audit/verify.py`.
"""

import base64
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.audit.fields import AuditError, Value, checked
from shared.clock import utc_text
from shared.files import Lock, sync_folder

PURPOSE = b"wardround audit entry\n"  # before what is signed: the key signs other things too
FIRST = "0" * 64  # the hash before the first entry
ROTATE_BYTES = 64 * 2**20
LONGEST_LINE = 2**14
PATTERN = "audit-*.jsonl"
_LOCK = ".lock"
Signer = Callable[[], ec.EllipticCurvePrivateKey]
"""Gives the key that signs now; asked under the log's lock, before each entry."""


@dataclass(frozen=True)
class Entry:
    """One line of the log.

    Attributes:
        seq: Counts from 1, through all files.
        time: UTC, ISO 8601.
        event: What happened; see `shared.audit.fields.EVENTS`.
        fields: What belongs to it.
        previous: Hash of the entry before.
        hash: SHA-256 over all of the above, in hexadecimal.
        signature: Of the hash, base64.
    """

    seq: int
    time: str
    event: str
    fields: dict[str, Value]
    previous: str
    hash: str = ""
    signature: str = ""

    def line(self) -> bytes:
        """Return the entry as it stands in the file."""
        return canonical(asdict(self)) + b"\n"

    def content_hash(self) -> str:
        """Return the hash that the entry should have."""
        content = asdict(self)
        del content["hash"], content["signature"]
        return hashlib.sha256(canonical(content)).hexdigest()

    def signed(self, key: ec.EllipticCurvePrivateKey) -> "Entry":
        """Return the entry with its hash and a signature."""
        digest = self.content_hash()
        signature = key.sign(PURPOSE + digest.encode(), ec.ECDSA(hashes.SHA384()))
        return replace(self, hash=digest, signature=base64.b64encode(signature).decode())

    @property
    def head(self) -> str:
        """The entry's number and hash: enough to see later whether it is still in the log."""
        return f"{self.seq}:{self.hash}"


def canonical(content: dict[str, Any]) -> bytes:
    """Return JSON with sorted keys and no blanks."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse_entry(line: bytes) -> Entry:
    """Read a line.

    Raises:
        ValueError: It is not an entry, or not written as this module does.
    """
    try:
        entry = Entry(**json.loads(line))
    except (TypeError, RecursionError):
        raise ValueError("has other keys than an entry") from None
    kinds = (entry.seq, int), (entry.fields, dict), *((text, str) for text in (entry.hash, entry.signature))
    if any(not isinstance(value, kind) for value, kind in kinds) or entry.line() != line:
        raise ValueError("is not written as an entry is")
    return entry


def encode_key(key: ec.EllipticCurvePublicKey) -> str:
    """Return a public key as it stands in the log: base64 of its DER form."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(key.public_bytes(serialization.Encoding.DER, form)).decode()


class AuditLog:
    """An audit log that several processes may write.

    Where the key changes, whoever writes next makes the new one known by an entry that it signs.

    Args:
        folder: Holds the log's files.
        key: Signs the entries. Where its file may be replaced meanwhile: what gives the key of now.
        rotate_bytes: Size of a file at which a new one follows it.
    """

    def __init__(
        self, folder: Path, key: ec.EllipticCurvePrivateKey | Signer, rotate_bytes: int = ROTATE_BYTES
    ) -> None:
        self._folder = folder
        self._signer = key if callable(key) else lambda: key
        self._key = self._signer()
        self._is_known = False  # the log names this key as the one that signs
        self._rotate_bytes = rotate_bytes

    @classmethod
    def open(
        cls, folder: Path, key: ec.EllipticCurvePrivateKey | Signer, rotate_bytes: int = ROTATE_BYTES
    ) -> Self:
        """Open a log, or begin one.

        Raises:
            AuditError: The log can't be written, or its last entry can't be read.
            CredentialError: The key can't be read.
        """
        log = cls(folder, key, rotate_bytes)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise AuditError(f"can't be made ({error.strerror})", where=folder) from None
        with log._locked():
            return log

    def append(self, event: str, **fields: object) -> Entry:
        """Write an entry; it is on the disk when this returns.

        Raises:
            AuditError: The event or a field is not on the list, or the log can't be written.
        """
        written = checked(event, fields)
        with self._locked():
            return self._write(event, written)

    def rotate(self) -> None:
        """Begin a new file, whose first entry names the last one of the old file.

        Raises:
            AuditError: The log can't be written.
        """
        with self._locked():
            self._start_file(self._last())

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._folder

    @property
    def head(self) -> str:
        """Number and hash of the last entry: kept elsewhere, it shows later whether the end was cut off."""
        with self._locked():
            last = self._last()
        return f"0:{FIRST}" if last is None else last.head

    def newest(self, event: str) -> Entry | None:
        """Return the last entry of a kind, or None; the log is read from its end.

        Raises:
            AuditError: The log can't be read.
        """
        mark = f'"event":"{event}"'.encode()  # as `canonical` spells it; inside a text its quotes are escaped
        with self._locked():
            for path in reversed(self._files()):
                content = path.read_bytes()
                found = content.rfind(mark)
                if found >= 0:
                    start, end = content.rfind(b"\n", 0, found) + 1, content.find(b"\n", found) + 1
                    return self._entry(path, content[start:end])
        return None

    def sign(self, content: bytes) -> str:
        """Return a signature (base64) by the key of the entries; the content begins with its purpose."""
        return base64.b64encode(self._key.sign(content, ec.ECDSA(hashes.SHA384()))).decode()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with Lock(self._folder / _LOCK):
                self._take_up_key()
                yield
        except OSError as error:
            raise AuditError(
                f"the audit log can't be written ({error.strerror})",
                where=self._folder,
                remedy="Nothing leaves this machine that is not in its audit log.",
            ) from None

    def _take_up_key(self) -> None:
        """Sign with the key of now from here on, and make it known; the lock is held."""
        key = self._signer()
        if key is self._key and self._is_known:
            return
        self._key = key
        known = self._signing_key()
        if known is None:
            self._write("log-started", self._own_key())
        elif known != encode_key(key.public_key()):
            self._write("key-changed", self._own_key())
        self._is_known = True

    def _files(self) -> list[Path]:
        return log_files(self._folder)

    def _write(self, event: str, fields: dict[str, Value]) -> Entry:
        """Append an entry; the lock is held."""
        last = self._last()
        files = self._files()
        if files and files[-1].stat().st_size >= self._rotate_bytes:
            last = self._start_file(last)
        return self._put(self._next(last, event, fields), new_file=last is None)

    def _start_file(self, last: Entry | None) -> Entry | None:
        if last is None:
            return None
        fields: dict[str, Value] = {"file": self._files()[-1].name, **self._own_key()}
        return self._put(self._next(last, "file-started", fields), new_file=True)

    def _own_key(self) -> dict[str, Value]:
        return {"public_key": encode_key(self._key.public_key())}

    def _next(self, last: Entry | None, event: str, fields: dict[str, Value]) -> Entry:
        seq, previous = (1, FIRST) if last is None else (last.seq + 1, last.hash)
        return Entry(seq, utc_text("milliseconds"), event, fields, previous).signed(self._key)

    def _put(self, entry: Entry, *, new_file: bool) -> Entry:
        path = self._folder / f"audit-{entry.seq:012}.jsonl" if new_file else self._files()[-1]
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | (os.O_CREAT | os.O_EXCL if new_file else 0), 0o600)
        try:
            before = os.fstat(handle).st_size
            line = entry.line()
            try:
                if os.write(handle, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, before)
                raise
        finally:
            os.close(handle)
        if new_file:
            sync_folder(self._folder)
        return entry

    def _last(self) -> Entry | None:
        """Return the last entry; what a crash left of a line is removed, and an entry says so."""
        for path in reversed(self._files()):
            line, torn = read_tail(path)
            if torn:
                last = self._entry(path, line) if line else self._last_before(path)
                return self._repair(path, torn, last)
            if line:
                return self._entry(path, line)
            path.unlink()  # a file that was begun, and then the machine went down
        return None

    def _last_before(self, path: Path) -> Entry | None:
        older = [file for file in self._files() if file < path]
        return self._entry(older[-1], read_tail(older[-1])[0]) if older else None

    def _repair(self, path: Path, torn: bytes, last: Entry | None) -> Entry:
        os.truncate(path, path.stat().st_size - len(torn))
        fields: dict[str, Value] = {"torn_bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}
        return self._put(self._next(last, "torn-line-removed", fields), new_file=False)

    def _entry(self, path: Path, line: bytes) -> Entry:
        try:
            return parse_entry(line)
        except ValueError:
            raise AuditError(
                "its last line is not an entry: it was changed, or the disk has failed",
                where=path,
                remedy="Run `audit verify`, then move the folder away and keep it as evidence.",
            ) from None

    def _signing_key(self) -> str | None:
        """Return the public key that the log names last."""
        for path in reversed(self._files()):
            for line in reversed(path.read_bytes().splitlines(keepends=True)):
                if b'"public_key"' in line and line.endswith(b"\n"):
                    return str(self._entry(path, line).fields["public_key"])
        return None


def log_files(folder: Path) -> list[Path]:
    """Return the files of a log, oldest first."""
    return sorted(folder.glob(PATTERN))


def read_tail(path: Path) -> tuple[bytes, bytes]:
    """Return the last whole line of a file and what stands behind it: nothing, unless a write was cut short.

    Raises:
        AuditError: More stands behind it than one entry can be.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2 * LONGEST_LINE))
        tail = file.read()
    whole, newline, torn = tail.rpartition(b"\n")
    if len(torn) > LONGEST_LINE:
        raise AuditError("does not end with an entry", where=path)
    if not newline:
        return b"", torn
    return whole.rpartition(b"\n")[2] + b"\n", torn
