"""A site's end of Flower's Fleet protocol: ask for work, fetch it, bring the answer."""

import io
import secrets
import ssl
import threading
from functools import partial
from hashlib import sha256

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.app import Message, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPushError,
)
from flwr.supernode.fleet_http_client import FleetHttpClient

from shared.flower.connection import (
    PIECE,
    AnswerPiece,
    ArrayPiece,
    Connection,
    OnContact,
    Pull,
    RefusedError,
    RunOverError,
    StoppedError,
    ask_awaited,
    bring_piece,
    fetch_piece,
    pull_messages,
)
from shared.flower.inline import LARGEST, array_bytes, enclose
from shared.flower.stored import Shelf, take_out
from shared.flower.upload import upload

HEARTBEAT = 10.0
"""Seconds, the least that Flower allows; after twice as many without one, a node counts as gone."""

_PUSHES = 3  # an upload that outlives its session starts again


class Ticket:
    """A message that waits for this site: who asks what in which run."""

    def __init__(self, response: PullMessagesResponse) -> None:
        self._response = response
        self.head: Message = message_from_proto(response.messages_list[0])
        self._tree = response.message_object_trees[0]

    @property
    def run_id(self) -> int:
        """The run that asks."""
        return self.head.metadata.run_id

    @property
    def is_enclosed(self) -> bool:
        """Whether the content is in the message itself; Flower leaves an empty one there where it isn't."""
        return self.head.has_content() and not self._tree.children

    def to_bytes(self) -> bytes:
        """Return the ticket as it can be kept over a restart."""
        return self._response.SerializeToString()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Ticket":
        """Read a ticket that was kept.

        Raises:
            ValueError: It isn't one.
        """
        try:
            return cls(PullMessagesResponse.FromString(content))
        except Exception as error:
            raise ValueError(f"not a ticket ({error})") from None


class Fleet:
    """What a site asks of the coordinator, and what it brings.

    Args:
        url: Of the coordinator, see `Connection`.
        key: The site's own (EC P-384).
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
        self._connection = Connection(url, key, verify, stop, on_contact)
        self._public_key = _pem(key)
        self._stop = stop
        self._node = Node()
        self._shelf = Shelf(self._fetch_array)
        self._process, self._pulled = secrets.token_hex(8), 0

    @property
    def node_id(self) -> int:
        """This site's number at the coordinator; 0 before `activate`."""
        return self._node.node_id

    def renew(self, key: EllipticCurvePrivateKey, verify: ssl.SSLContext | bool) -> None:
        """Use another certificate from now on, for new connections."""
        self._connection.renew(key, verify)
        self._public_key = _pem(key)

    def activate(self, known_id: int | None = None) -> None:
        """Come online.

        Args:
            known_id: The number from an earlier time. Flower refuses to activate a node whose last process
                died until its lease has run out; with the number, a heartbeat goes on where that one ended.

        Raises:
            RefusedError: The key is not registered, or another process is online with it.
        """
        request = ActivateNodeRequest(public_key=self._public_key, heartbeat_interval=HEARTBEAT)
        try:
            self._node = Node(node_id=self._connection.call(FleetHttpClient.ActivateNode, request).node_id)
        except RefusedError as refusal:
            if refusal.status != httpx.codes.PRECONDITION_FAILED or known_id is None:
                raise
            self._node = Node(node_id=known_id)
            self.heartbeat()

    def heartbeat(self) -> None:
        """Stay online for two more intervals.

        Raises:
            RefusedError: The coordinator does not know this node any more.
        """
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT)
        if not self._connection.call(FleetHttpClient.SendNodeHeartbeat, request).success:
            raise RefusedError(httpx.codes.NOT_FOUND, "the coordinator does not know this site any more")

    def pull(self) -> Ticket | None:
        """Ask for a message; one that was lost on the way comes again."""
        pull = Pull(PullMessagesRequest(node=self._node), f"{self._process}-{self._pulled}")
        response = self._connection.call(pull_messages, pull)
        if not response.messages_list:
            return None
        self._pulled += 1
        return Ticket(response)

    def content(self, ticket: Ticket) -> RecordDict:
        """Return the content of a ticket's message, in which arrays may be named only.

        Raises:
            ValueError: There is none.
        """
        if not ticket.is_enclosed:
            raise ValueError("has no content")
        return ticket.head.content

    def complete(self, content: RecordDict) -> RecordDict:
        """Return a content with the arrays that it names, however large: `named_bytes` says it before.

        Raises:
            RunOverError: Nobody waits for the answer any more.
            StoppedError: The site stops.
            ValueError: What came can't be read.
        """
        return self._shelf.complete(content)

    def _fetch_array(self, digest: str, size: int) -> bytes:
        data = io.BytesIO()
        while data.tell() < size:
            if self._stop.is_set():
                raise StoppedError
            piece = self._connection.call(fetch_piece, ArrayPiece(digest, data.tell()))
            if not 0 < len(piece) <= size - data.tell():
                raise ValueError("names an array of another size")
            data.write(piece)
        return data.getvalue()  # without a copy, as long as nobody writes to it

    def push(self, reply: Message, seconds: float) -> None:
        """Bring an answer; `seconds` is how long the work took.

        Raises:
            RunOverError: Its run has ended, or every upload of it outlived its session.
        """
        run_id = reply.metadata.run_id
        if not reply.has_content() or array_bytes(reply.content) <= LARGEST:
            self._push_enclosed(reply, seconds)
            return
        if self._push_named(reply, seconds):
            return
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            head = remove_content_from_message(reply)
            request = PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(head)],
                message_object_trees=[get_object_tree(reply)],
                clientapp_runtime_list=[seconds],
            )
            objects = get_all_nested_objects(reply)
        for _ in range(_PUSHES):
            response = self._connection.call(FleetHttpClient.PushMessages, request, of_run=True)
            wanted = {name: objects[name] for name in response.objects_to_push}
            try:
                upload(wanted, reply.object_id, partial(self._push_object, run_id, response.session_id))
            except ObjectPushError:
                continue
            return
        raise RunOverError

    def _push_named(self, reply: Message, seconds: float) -> bool:
        """Bring an answer whose arrays go before it, as files; says whether the coordinator takes such."""
        bring = partial(self._bring_array, reply.metadata.reply_to_message_id)
        try:
            named = take_out(reply.content, bring)
        except RefusedError as refusal:
            if refusal.status == httpx.codes.NOT_FOUND:  # its version has no such files
                return False
            raise
        self._push_enclosed(make_message(metadata=reply.metadata, content=named), seconds)
        return True

    def _bring_array(self, question: str, data: bytes) -> str:
        digest, view = sha256(data).hexdigest(), memoryview(data)
        # An empty piece goes first: a refusal may get lost where its connection is closed on 8 MiB.
        for first, last in [(0, 0), *((at, at + PIECE) for at in range(0, len(data), PIECE))]:
            piece = AnswerPiece(question, digest, first, view[first:last])
            self._connection.call(bring_piece, piece, of_run=True)
        return digest

    def _push_enclosed(self, reply: Message, seconds: float) -> None:
        """Bring an answer with its content inside."""
        message, tree = enclose(reply)
        request = PushMessagesRequest(
            node=self._node,
            messages_list=[message],
            message_object_trees=[tree],
            clientapp_runtime_list=[seconds],
        )
        self._connection.call(FleetHttpClient.PushMessages, request, of_run=True)

    def _push_object(self, run_id: int, session: str, identity: str, content: bytes) -> None:
        request = PushObjectRequest(
            node=self._node, run_id=run_id, object_id=identity, object_content=content, session_id=session
        )
        if not self._connection.call(FleetHttpClient.PushObject, request, of_run=True).stored:
            raise ObjectPushError(identity, run_id, session)

    def is_awaited(self, ticket: Ticket) -> bool:
        """Say whether somebody waits for the answer; where that can't be asked, somebody may."""
        try:
            return self._connection.call_once(ask_awaited, ticket.head.metadata.message_id)
        except httpx.HTTPError:
            return True

    def leave(self) -> None:
        """Go offline, if the coordinator can be reached."""
        try:
            if self.node_id:
                request = DeactivateNodeRequest(node_id=self.node_id)
                self._connection.call_once(FleetHttpClient.DeactivateNode, request)
        except httpx.HTTPError:
            return
        finally:
            self._connection.close()


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
