"""Runs of a coordinator on another machine, over its people's listener; see `server/gateway/runs_api.py`."""

import base64
import hashlib
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from pydantic import TypeAdapter, ValidationError

from server.folder.login import Login
from server.runs.control import Priority, RunDetails, RunRow, parse_event
from server.runs.events import Event
from server.runs.file_copies import check_file_name, write_copy
from shared.errors import RunError
from shared.job.schema import JobSpec, parse_job
from shared.wire.https import MIB, CoordinatorError, exchange, parse_object, refusal, unreachable

_START = 180.0  # seconds that starting or stopping a run may take
_SILENCE = 45.0  # seconds without a sign of life after which a stream is taken for dead
_PATIENCE = 600.0  # seconds for which a coordinator that is away is asked again
_PAUSES = (0.25, 15.0)  # seconds: the first and the longest pause between two tries
_LONGEST = 64 * MIB  # bytes of a list or a description
_JITTER = random.SystemRandom()  # many watch one coordinator: they must not all come back at once


class RemoteCoordinator:
    """The runs of a coordinator over the network; implements `RunControl`.

    Args:
        login: Where it is, and who calls.
    """

    def __init__(self, login: Login) -> None:
        self._url = login.url
        self._client = login.client()

    def submit(self, job: JobSpec, project: str | None = None, priority: Priority = "normal") -> str:
        """Put a new run into the queue; returns its name.

        Args:
            job: What is asked.
            project: To which the run belongs; None is the caller's only one.
            priority: In the queue.

        Raises:
            CoordinatorError: The coordinator refuses the job or the person, or can't be reached.
        """
        asked = {"priority": priority} | ({} if project is None else {"project": project})
        path = f"runs?{urlencode(asked)}"
        body = {"job": json.loads(job.canonical()), "digest": job.digest()}
        return str(parse_object(self._post(path, body)).get("run"))

    def resume(self, name: str) -> None:
        """Go on with a run; raises CoordinatorError as `submit` does."""
        self._post(f"runs/{_path(name)}/resume")

    def stop(self, name: str) -> None:
        """Stop a run; raises CoordinatorError as `submit` does."""
        self._post(f"runs/{_path(name)}/stop")

    def remove(self, name: str) -> None:
        """Remove a run that has ended; raises CoordinatorError as `submit` does."""
        exchange(self._client, "DELETE", f"{self._url}/v1/runs/{_path(name)}")

    def list(self) -> list[RunRow]:
        """Return all runs, the newest first; raises CoordinatorError."""
        return self._parsed(list[RunRow], self._get("runs"))

    def look(self, name: str) -> RunDetails:
        """Return a run by its name; raises CoordinatorError."""
        found = parse_object(self._get(f"runs/{_path(name)}"))
        row = self._parsed(RunRow, json.dumps(found.get("row")).encode())
        job, about = found.get("job"), found.get("description")
        if not isinstance(job, dict) or not isinstance(about, dict):
            raise self._strange()
        return RunDetails(row, parse_job(job, "the run's job"), about)

    def follow(self, name: str) -> Iterator[Event]:
        """Yield what happened in a run, and what happens, until it ends; goes on after a cut connection.

        Raises:
            CoordinatorError: There is no such run, or the coordinator was away for ten minutes.
        """
        known, tries = 0, 0
        silent_since = time.monotonic()
        while True:
            try:
                for line in self._stream(f"runs/{_path(name)}/events?after={known}"):
                    tries, silent_since = 0, time.monotonic()
                    if not line:
                        continue
                    if "end" in line:
                        return
                    known = int(line["number"])
                    if event := parse_event(line["line"]):
                        yield event
            except httpx.TransportError as error:
                if time.monotonic() - silent_since > _PATIENCE:
                    raise unreachable(error, self._url) from None
            except (KeyError, TypeError, ValueError):
                raise self._strange() from None
            tries += 1
            first, longest = _PAUSES
            time.sleep(min(first * 2**tries, longest) * _JITTER.uniform(0.5, 1.0))

    def fetch(self, name: str, out: Path) -> Path:
        """Copy a run's folder below `out` and check every file by its digest; returns the copy.

        Raises:
            RunError: The copy exists, or a file is not what was sent.
            CoordinatorError: There is no such run, or the coordinator can't be reached.
        """
        names = self._parsed(list[str], self._get(f"runs/{_path(name)}/files"))
        return write_copy(out, name, ((file, self._content(name, check_file_name(file))) for file in names))

    def _content(self, name: str, file: str) -> Iterator[bytes]:
        """Yield a file's content; raises after the last of it where it is not what was sent."""
        url = f"{self._url}/v1/runs/{_path(name)}/files/{file}"
        digest = hashlib.sha256()
        try:
            with self._client.stream("GET", url) as answer:
                self._check(answer)
                for chunk in answer.iter_bytes():
                    digest.update(chunk)
                    yield chunk
        except httpx.TransportError as error:
            raise unreachable(error, url) from None
        sent = base64.b64encode(digest.digest()).decode("ascii")
        if answer.headers.get("repr-digest") != f"sha-256=:{sent}:":
            raise RunError("did not arrive as it was sent", where=file, remedy="Fetch it again.")

    def _stream(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the JSON lines of an answer; an empty one, which is a sign of life, as an empty object.

        Raises:
            httpx.TransportError: The connection was cut, or the coordinator is being started.
            CoordinatorError: It refuses.
        """
        timeout = httpx.Timeout(10.0, read=_SILENCE)
        with self._client.stream("GET", f"{self._url}/v1/{path}", timeout=timeout) as answer:
            if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                raise httpx.RemoteProtocolError(f"status {answer.status_code}")
            self._check(answer)
            for line in answer.iter_lines():
                yield json.loads(line) if line else {}

    def _check(self, answer: httpx.Response) -> None:
        if not answer.is_success:
            raise refusal(answer.status_code, answer.read(), self._url)

    def _get(self, path: str) -> bytes:
        return exchange(self._client, "GET", f"{self._url}/v1/{path}", longest=_LONGEST)

    def _post(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        return exchange(self._client, "POST", f"{self._url}/v1/{path}", body, timeout=_START)

    def _parsed(self, kind: Any, content: bytes) -> Any:
        try:
            return TypeAdapter(kind).validate_json(content, strict=True)
        except ValidationError:
            raise self._strange() from None

    def _strange(self) -> CoordinatorError:
        remedy = "Coordinator and researcher must run the same version of Wardround."
        return CoordinatorError("its answer is not understood", where=self._url, remedy=remedy)


def _path(name: str) -> str:
    """Return a run's name as one segment of a path."""
    return quote(name, safe="")
