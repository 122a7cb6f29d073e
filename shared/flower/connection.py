"""A site's connection to the coordinator: a request is repeated until it gets through, or is refused."""

import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from random import SystemRandom
from typing import Any, TypeVar

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # read by Flower when it is first imported

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from google.protobuf.message import DecodeError

from shared.errors import SiteError
from shared.flower.transport import routed
from shared.wire.protocol import Speaks

_FIRST_WAIT, _LONGEST_WAIT = 0.25, 15.0  # seconds between attempts while the coordinator is away
_SLOWEST = 32 * 1024  # bytes per second at which an upload still gets through
_AWAY = {408, 425, 429, 500, 502, 503, 504}
_jitter = SystemRandom()

ARRAY_PATH = "/v1/model"
"""Where the gateway gives out arrays, in pieces."""

AWAITED_PATH = "/v1/awaited"
"""Where the gateway says whether a message still waits for its answer."""

ANSWER_PATH = "/v1/answer"
"""Where the gateway takes the arrays of large answers, in pieces."""

MARK = "wardround-mark"
"""Header of a site's question for work: its process, and how many messages have come to it."""

PIECE = 8 * 2**20
"""Bytes of a piece at most: as much is lost where a line is cut."""

LARGEST_ANSWER = 2 * PIECE
"""Bytes of any answer of the coordinator: messages name what is large."""

T = TypeVar("T")
OnContact = Callable[[str | None], None]
"""Told why the coordinator can't be reached, whenever that is so, and None once it can be again."""


@dataclass(frozen=True)
class ArrayPiece:
    """A part of an array: from byte `first` on."""

    sha256: str
    first: int


@dataclass(frozen=True)
class AnswerPiece:
    """A part of an array of an answer: from byte `first` on.

    Attributes:
        question: Flower's identity of the message that is answered.
        sha256: Of the whole array, in hexadecimal.
        first: Number of the first byte.
        data: The bytes.
    """

    question: str
    sha256: str
    first: int
    data: memoryview


@dataclass(frozen=True)
class Pull:
    """A question for work.

    Attributes:
        request: Flower's.
        mark: See `MARK`; with the same one the coordinator gives the same message again.
    """

    request: PullMessagesRequest
    mark: str


class RefusedError(SiteError):
    """The coordinator is there and turns this site away."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


class RunOverError(Exception):
    """The run that a message belongs to is no longer running."""


class StoppedError(Exception):
    """The site stops while it waits for the coordinator."""


class Connection:
    """Sends requests to the coordinator, from any thread.

    Args:
        url: Of the coordinator, such as ``https://federation.example.org:9443``. A proxy that the environment
            names is used, see `shared.wire.proxy`.
        key: The site's own; signs every request (EC P-384).
        verify: How the coordinator's certificate is checked; with a client certificate, mutual TLS.
        stop: Set when the site stops.
        on_contact: Told when the coordinator goes away and comes back.
    """

    def __init__(
        self,
        url: str,
        key: EllipticCurvePrivateKey,
        verify: ssl.SSLContext | bool,
        stop: threading.Event,
        on_contact: OnContact = lambda reason: None,
    ) -> None:
        self._url = url
        self._stop = stop
        self._on_contact = on_contact
        self._client = self._open(key, verify)
        self._retired: FleetHttpClient | None = None

    def renew(self, key: EllipticCurvePrivateKey, verify: ssl.SSLContext | bool) -> None:
        """Use another certificate from now on: for new requests, while those under way end in peace."""
        if self._retired is not None:  # nothing has been under way on it for weeks
            self._retired.close()
        self._retired, self._client = self._client, self._open(key, verify)

    def call(self, method: Callable[[Any, Any], T], request: object, *, of_run: bool = False) -> T:
        """Send a request, again and again, less and less often, until it gets through.

        Args:
            method: Of `FleetHttpClient`.
            request: What it takes.
            of_run: The request belongs to a run.

        Raises:
            RefusedError: The coordinator turns this site away.
            RunOverError: The request belongs to a run that has ended.
            StoppedError: The site stops.
        """
        wait, away = _FIRST_WAIT, False
        while True:
            try:
                with _translated(of_run=of_run):
                    answer = method(self._client, request)
            except _AwayError as error:
                away = True
                self._on_contact(str(error))
            except (RefusedError, RunOverError):
                self._heard(away)
                raise
            else:
                self._heard(away)
                return answer
            if self._stop.wait(wait * _jitter.uniform(0.5, 1.0)):
                raise StoppedError
            wait = min(2 * wait, _LONGEST_WAIT)

    def _heard(self, away: bool) -> None:
        if away:
            self._on_contact(None)

    def call_once(self, method: Callable[[Any, Any], T], request: object) -> T:
        """Send a request once.

        Raises:
            httpx.HTTPError: It did not get through, or is refused.
        """
        return method(self._client, request)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        if self._retired is not None:
            self._retired.close()

    def _open(self, key: EllipticCurvePrivateKey, verify: ssl.SSLContext | bool) -> FleetHttpClient:
        interceptors = [
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
            _Patience(),
        ]
        client = FleetHttpClient(self._url, interceptors=interceptors, verify=verify)
        client = routed(client, self._url, verify)
        client._client.headers["accept-encoding"] = "identity"
        client._client.headers["user-agent"] = str(Speaks.own())
        client._client.event_hooks = {"response": [_bound]}
        return client


def fetch_piece(client: FleetHttpClient, piece: ArrayPiece) -> bytes:
    """Ask for a piece of an array, as `Connection.call` does.

    Raises:
        RunOverError: The coordinator does not offer the array any more.
        ValueError: More came than was asked for.
    """
    url, content = client._base_url + ARRAY_PATH, bytearray()
    with client._client.stream("POST", url, json=asdict(piece), follow_redirects=False) as response:
        if response.status_code == httpx.codes.NOT_FOUND:
            raise RunOverError
        response.raise_for_status()
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > PIECE:
                raise ValueError("names an array of which too much came")
    return bytes(content)


def bring_piece(client: FleetHttpClient, piece: AnswerPiece) -> None:
    """Bring a piece of an array, as `Connection.call` does."""
    http, seconds = client._client, len(piece.data) / _SLOWEST
    head = {"question": piece.question, "sha256": piece.sha256, "first": str(piece.first)}
    url, timeout = client._base_url + ANSWER_PATH, httpx.Timeout(**http.timeout.as_dict())
    timeout.read, timeout.write = (usual + seconds for usual in (timeout.read or 0.0, timeout.write or 0.0))
    headers = {f"wardround-{name}": value for name, value in head.items()}
    sent = http.post(url, content=bytes(piece.data), headers=headers, timeout=timeout, follow_redirects=False)
    sent.raise_for_status()


def pull_messages(client: FleetHttpClient, pull: Pull) -> PullMessagesResponse:
    """Ask for work, as `Connection.call` does."""
    client._client.headers[MARK] = pull.mark
    return client.PullMessages(pull.request)


def has_message(content: bytes) -> bool:
    """Say whether the answer to a question for work holds a message; False where it can't be read."""
    try:
        return bool(PullMessagesResponse.FromString(content).messages_list)
    except DecodeError:
        return False


def ask_awaited(client: FleetHttpClient, message: str) -> bool:
    """Ask whether a run waits for the answer to a message, as `Connection.call_once` does.

    Args:
        client: Of the connection.
        message: Flower's identity of the message.
    """
    url = client._base_url + AWAITED_PATH
    response = client._client.post(url, json={"message": message}, follow_redirects=False)
    if response.status_code == httpx.codes.NOT_FOUND:
        return False
    response.raise_for_status()
    return True


class _Patience:
    """Gives a large request the time that a slow line needs; Flower gives every one the same 30 s."""

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Pass a request on."""
        seconds = int(context.request.headers["content-length"]) / _SLOWEST
        timeouts = context.request.extensions["timeout"]
        for what in ("write", "read"):  # what was written may wait in the kernel long before it is answered
            timeouts[what] += seconds
        return call_next(context)


class _BoundedStream(httpx.SyncByteStream):
    """The body of an answer, as far as a site takes it."""

    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > LARGEST_ANSWER:
                raise httpx.RemoteProtocolError(f"it answers with more than {LARGEST_ANSWER} bytes")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _bound(response: httpx.Response) -> None:
    """Let an answer take no more memory than any honest one does, packed or not."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx.RemoteProtocolError("it answers with something packed")
    if isinstance(response.stream, httpx.SyncByteStream):
        response.stream = _BoundedStream(response.stream)


class _AwayError(Exception):
    """The coordinator can't be reached, or asks to come again."""


@contextmanager
def _translated(*, of_run: bool) -> Iterator[None]:
    """Tell apart who is away, who refuses, and whose run is over."""
    try:
        yield
    except httpx.TransportError as error:
        raise _AwayError(str(error) or type(error).__name__) from None
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status in _AWAY:
            raise _AwayError(f"HTTP {status}") from None
        if status == httpx.codes.FORBIDDEN and of_run:
            raise RunOverError from None
        raise RefusedError(status, f"the coordinator refuses this site ({_reason(status)})") from None
    except SystemExit as end:  # how Flower says that the versions do not fit
        raise RefusedError(
            httpx.codes.UPGRADE_REQUIRED, f"the versions of Flower do not fit ({end})"
        ) from None


def _reason(status: int) -> str:
    reasons: dict[int, str] = {
        httpx.codes.UNAUTHORIZED: "not known there since a restart, its key not accepted, or its clock wrong",
        httpx.codes.FORBIDDEN: "its certificate admits it no more: revoked, or expired",
        httpx.codes.UPGRADE_REQUIRED: "their versions of Wardround have no protocol in common",
        httpx.codes.PRECONDITION_FAILED: "its key is not registered, or an earlier process counts as online",
    }
    return reasons.get(status, f"HTTP {status}")
