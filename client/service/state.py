"""What a site's service keeps over a restart, and what it tells about itself, in a folder of its own."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.clock import utc_text
from shared.errors import SiteError
from shared.files import Lock, replace_file
from shared.flower.fleet import Ticket

_NUMBER, _MESSAGE, _STATUS = "node-id", "message", "status.json"


class StateFolder:
    """The folder `state/` of a site.

    Args:
        path: Of the folder; made if missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SiteError(f"can't be made ({error.strerror})", where=path) from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second service of the same site away.

        Raises:
            SiteError: There is one already.
        """
        try:
            lock = Lock(self._path / "lock", wait=False)
        except BlockingIOError:
            raise SiteError("this site's service runs already", where=self._path) from None
        with lock:
            yield

    @property
    def node_id(self) -> int | None:
        """The site's number at the coordinator, if it was online before."""
        try:
            return int((self._path / _NUMBER).read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    @node_id.setter
    def node_id(self, number: int) -> None:
        self._write(_NUMBER, str(number).encode())

    def keep(self, ticket: Ticket) -> None:
        """Note the message that is being worked on."""
        self._write(_MESSAGE, bytes([0]) + ticket.to_bytes())

    def drop(self) -> None:
        """Forget the message that was being worked on."""
        (self._path / _MESSAGE).unlink(missing_ok=True)

    def unfinished(self) -> tuple[Ticket | None, int]:
        """Return the message that the last process was working on, and how many have ended over it by now."""
        try:
            content = (self._path / _MESSAGE).read_bytes()
            ticket, ends = Ticket.from_bytes(content[1:]), content[0] + 1
        except FileNotFoundError:
            return None, 0
        except (ValueError, IndexError):
            self.drop()
            return None, 0
        self._write(_MESSAGE, bytes([min(ends, 255)]) + content[1:])
        return ticket, ends

    def tell(self, status: str, detail: str = "") -> None:
        """Write what the service is doing, for `wardround client status`."""
        content = {"status": status, "detail": detail, "since": utc_text(), "pid": os.getpid()}
        self._write(_STATUS, json.dumps(content).encode())

    def _write(self, name: str, content: bytes) -> None:
        replace_file(self._path / name, content, sync=False)  # after a power cut it is another service


def told(path: Path) -> dict[str, Any]:
    """Return what the service of a state folder last told; empty where none ever ran."""
    try:
        content: dict[str, Any] = json.loads((path / _STATUS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content
