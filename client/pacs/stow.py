"""Objects into an archive: STOW-RS (PS3.18 10.5)."""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from client.pacs.answers import PLAIN, parsed, require_plain, values
from client.pacs.archive_settings import ArchiveTable, PacsError

Note = Callable[[str, int, int], None]
_ANSWER = {"accept": "application/dicom+json", **PLAIN}
_FAILED = "00081198"  # Failed SOP Sequence
_REASON = "00081197"  # Failure Reason
_STORED = "00081199"  # Referenced SOP Sequence
_LARGEST_ANSWER = 2**24
_LARGEST_CODE = 0xFFFF
_REASONS = {  # PS3.4 B.2.3, PS3.18 I.2
    0x0110: "it could not process it",
    0x0122: "it takes no objects of this kind",
    0x0124: "this account may not store",
    0xA700: "it is out of space",
    0xA900: "it does not fit its kind",
    0xC000: "it could not understand it",
}


@dataclass(frozen=True)
class Store:
    """An archive that is ready to be sent objects.

    Attributes:
        client: Logs in.
        url: Of the service.
        note: Called before objects leave, with their SHA-256, their number and their bytes.
    """

    client: httpx.Client
    url: str
    note: Note

    @classmethod
    def of(cls, table: ArchiveTable, note: Note) -> "Store":
        """Return the archive that a table names; nothing is sent yet."""
        return cls(table.open(), table.url, note)

    def send(self, files: Sequence[Path]) -> None:
        """Send objects of one result, in one request: the archive takes each, or says which not.

        Raises:
            PacsError: The archive can't be reached, refuses the account, or does not take one.
        """
        boundary = secrets.token_hex(16)
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        contents = [file.read_bytes() for file in files]
        self.note(hashlib.sha256(b"".join(contents)).hexdigest(), len(files), sum(map(len, contents)))
        body = b"".join(_parts(contents, boundary))
        try:
            with self.client.stream(
                "POST", f"{self.url}/studies", content=body, headers={**_ANSWER, "content-type": kind}
            ) as answer:
                status, content = answer.status_code, _bounded(answer)
        except httpx.HTTPError as error:
            text = f"can't be reached ({type(error).__name__}: {error})"
            raise PacsError(text, where=self._host, remedy="Is it running, and is its name right?") from None
        self._check(status, content, files)

    @property
    def _host(self) -> str:
        return httpx.URL(self.url).host

    def _check(self, status: int, content: bytes, files: Sequence[Path]) -> None:
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            remedy = "Name an account that may store: user and password, or token (docs/results.md)."
            raise PacsError(f"refuses the account (status {status})", where=self._host, remedy=remedy)
        said = _object(content)
        failed = _sequence(said, _FAILED)
        if failed:
            problem = f"does not take {len(failed)} of {len(files)} objects: {_reason(failed[0])}"
            raise PacsError(problem, where=self._host)
        stored = len(_sequence(said, _STORED))
        if status != HTTPStatus.OK or stored != len(files):
            raise PacsError(
                f"answered with status {status} and named {stored} of {len(files)} objects as stored",
                where=self._host,
            )


def _parts(contents: Sequence[bytes], boundary: str) -> Iterable[bytes]:
    for content in contents:
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        yield content
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _bounded(answer: httpx.Response) -> bytes:
    require_plain(answer)
    found = bytearray()
    for piece in answer.iter_bytes():
        found += piece
        if len(found) > _LARGEST_ANSWER:
            raise httpx.RemoteProtocolError(f"it answers with more than {_LARGEST_ANSWER} bytes")
    return bytes(found)


def _object(content: bytes) -> dict[str, Any]:
    said = parsed(content)
    if isinstance(said, list):  # some archives put it into a list
        said = said[0] if said else {}
    return said if isinstance(said, dict) else {}


def _sequence(said: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return [item for item in values(said, tag) if isinstance(item, dict)]


def _reason(failed: dict[str, Any]) -> str:
    code = next(iter(values(failed, _REASON)), None)
    if not isinstance(code, int) or not 0 <= code <= _LARGEST_CODE:
        return "no reason"
    return _REASONS.get(code, f"reason {code:04X}H")
