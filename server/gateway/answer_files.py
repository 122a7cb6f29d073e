"""Large answers on their way from the sites: files that the gateway writes and the process of a run reads.

Flower's SuperLink would hold every one in memory until it is fetched. Nothing of what a site sends is used as
a path: a file is called by a hash of the site, the question and the SHA-256 of what it shall hold.
"""

import hashlib
import logging
import mmap
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.gateway.answers import explained
from server.gateway.expected_answers import Allowances, Charge
from shared.files import Lock
from shared.flower.connection import ANSWER_PATH
from shared.flower.stored import check_digest
from shared.table import Table

log = logging.getLogger(__name__)

_PRIVATE = 0o700
_CHUNK = 2**20  # bytes written at once
_MOST_FILES = 64  # of an answer; an honest one has a few arrays
_SHA256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Head(Table):
    """What a piece of an array belongs to, as its request's headers say it.

    Attributes:
        question: Flower's identity of the message that is answered.
        sha256: Of the whole array.
        first: Number of the first byte.
    """

    question: _SHA256
    sha256: _SHA256
    first: NonNegativeInt

    @classmethod
    def of(cls, headers: Headers) -> "Head":
        """Read a request's headers.

        Raises:
            HTTPException: 400, they are not understood.
        """
        try:
            return cls.model_validate({name: headers.get(f"wardround-{name}") for name in cls.model_fields})
        except ValidationError:
            raise HTTPException(400, "the request is not understood") from None


class AnswersApi:
    """The gateway's end: takes what a run waits for, and keeps it as long as the run does.

    Args:
        folder: Of the files; emptied here.
        allowances: What the runs wait for.
    """

    def __init__(self, folder: Path, allowances: Allowances) -> None:
        self._folder = folder
        self._allowances = allowances
        self._kept: dict[str, set[Path]] = {}  # by the question that is answered
        self._is_full = False
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(_PRIVATE)
        allowances.when_changed(self._forget)

    def site_routes(self) -> list[Route]:
        """Return the routes of the sites' listener."""
        return [Route(ANSWER_PATH, explained(self.take), methods=["POST"])]

    async def take(self, request: Request) -> Response:
        """Take a piece of an array; 204, or 400, 403, 409, 413, and 503 on a full disk."""
        head, site = Head.of(request.headers), request.state.site
        charge = self._allowances.charge(site)
        path = self._folder / file_name(site, head.question, head.sha256)
        try:
            await self._keep(request, head, charge, path)
        except OSError as error:
            self._say_once(error)
            raise HTTPException(503, "the coordinator can't keep it now; try again") from None
        finally:
            charge.close()
            if self._allowances.asked(head.question) != site:
                path.unlink(missing_ok=True)  # the run gave up meanwhile
        self._is_full = False
        return Response(status_code=204)

    async def _keep(self, request: Request, head: Head, charge: Charge, path: Path) -> None:
        """Write the body of a request as it comes.

        Raises:
            HTTPException: It is not to be kept.
            OSError: It can't be.
        """
        at = head.first
        async for chunk in _chunks(request):
            if self._allowances.asked(head.question) != request.state.site:
                raise HTTPException(403, "no run waits for an answer of this site")
            kept = self._kept.setdefault(head.question, set())
            if len(kept - {path}) >= _MOST_FILES or not charge.take(len(chunk)):
                raise HTTPException(413, "the answer is larger than the model allows")
            kept.add(path)
            if not await run_in_threadpool(_write, path, at, chunk):
                raise HTTPException(409, "the bytes before are missing")
            at += len(chunk)
        charge.whole = True

    def _say_once(self, error: OSError) -> None:
        if not self._is_full:
            log.error("answers of sites can't be kept in %s (%s): make room", self._folder, error.strerror)
        self._is_full = True

    def _forget(self) -> None:
        """Remove what no run waits for any more."""
        for question in [each for each in self._kept if self._allowances.asked(each) is None]:
            for path in self._kept.pop(question):
                path.unlink(missing_ok=True)


class Inbox:
    """A run's end.

    Args:
        folder: Of the files, as for `AnswersApi`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, site: str, question: str, digest: str, size: int) -> mmap.mmap:
        """Return an array that a site has brought, in the memory of its file, which is gone with it.

        Raises:
            ValueError: It has not come, or is not the one that was named.
        """
        path = self._folder / file_name(site, question, digest)
        try:
            with Lock(path), path.open("rb") as file:
                path.unlink()
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            raise ValueError("names an array that has not come") from None
        if len(data) != size:
            raise ValueError("names an array that came damaged")
        check_digest(data, digest)
        return data


def file_name(site: str, question: str, digest: str) -> str:
    """Return the name of the file of an array."""
    return hashlib.sha256(f"{site} {question} {digest}".encode()).hexdigest()


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """Give a body in parts that are worth a write each, and one that is empty where it is."""
    waiting, given = bytearray(), False
    async for part in request.stream():
        waiting += part
        if len(waiting) >= _CHUNK:
            yield bytes(waiting)
            waiting, given = bytearray(), True
    if waiting or not given:
        yield bytes(waiting)


def _write(path: Path, first: int, content: bytes) -> bool:
    """Write a piece in its place, and nothing where bytes before it are missing; says which.

    The lock is that of a file which is still there: what a run has taken is never changed under its hands.
    """
    with Lock(path), path.open("ab") as file:
        if file.tell() < first:
            return False
        file.truncate(first)  # what came again since its receipt was lost
        file.write(content)
    return True
