"""Models on their way to the sites: files named by their SHA-256, which the gateway gives out in pieces.

The process of a run puts them there, the gateway reads them. They carry nothing that the messages to the same
sites would not carry; who asks must be admitted, and know the SHA-256.
"""

import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Annotated, BinaryIO, Self

from pydantic import Field, NonNegativeInt
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from server.files import disk_errors
from server.gateway.answers import explained
from server.gateway.request_body import parse_body
from shared.files import replace_file
from shared.flower.connection import ARRAY_PATH, PIECE
from shared.table import Table

_PRIVATE = 0o700
_CHUNK = 2**18  # bytes read and sent at once


class Outbox:
    """A run's end: what its sites may fetch; a context manager that leaves nothing behind.

    Args:
        folder: Of all runs' arrays.

    Raises:
        RunError: It can't be written.
    """

    def __init__(self, folder: Path) -> None:
        with disk_errors(folder):
            self._own = tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True)
        self._folder = Path(self._own.name)
        self._used: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own.cleanup()

    def put(self, data: bytes) -> str:
        """Offer an array; returns its SHA-256, in hexadecimal.

        Raises:
            RunError: It can't be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self._folder / digest
        if not path.exists():
            with disk_errors(path):
                replace_file(path, data, sync=False)  # gone when the run's process is
        self._used.add(digest)
        return digest

    def drop_unused(self) -> None:
        """Withdraw what was not put since this was last called, unless nothing was.

        A site that still fetches it is too late for its round, and gives up.
        """
        if self._used:
            for path in self._folder.iterdir():
                if path.name not in self._used:
                    path.unlink()
        self._used.clear()


class PieceBody(Table):
    """What a site sends to get a piece of an array: from byte `first` on."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    first: NonNegativeInt


class ModelsApi:
    """The gateway's end.

    Args:
        folder: Of all runs' arrays; emptied here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(_PRIVATE)

    def site_routes(self) -> list[Route]:
        """Return the routes of the sites' listener."""
        return [Route(ARRAY_PATH, explained(self.give), methods=["POST"])]

    async def give(self, request: Request) -> Response:
        """Give a piece of an array; 200 with its bytes, 404 when it is not offered any more, 400."""
        asked = await parse_body(request, PieceBody)
        file = self._open(asked.sha256)
        if file is None:
            return PlainTextResponse("no such array", 404)
        size = file.seek(0, 2)
        first = file.seek(min(asked.first, size))
        length = min(PIECE, size - first)
        return StreamingResponse(
            _chunks(file, length),
            headers={"content-length": str(length)},
            media_type="application/octet-stream",
        )

    def _open(self, digest: str) -> BinaryIO | None:
        """Open what is offered under a name: the name is compared, never used as a path."""
        for path in self._folder.glob("*/*"):
            if path.name == digest:
                try:
                    return path.open("rb")
                except FileNotFoundError:
                    continue  # just withdrawn
        return None


async def _chunks(file: BinaryIO, length: int) -> AsyncIterator[bytes]:
    with file:
        while length:
            chunk = await run_in_threadpool(file.read, min(_CHUNK, length))
            length -= len(chunk)
            yield chunk
