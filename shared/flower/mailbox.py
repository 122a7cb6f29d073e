"""The coordinator's end of Flower's messages: small contents travel inside their messages.

Flower's own Grid asks for the objects of every answer, and takes four copies of each; this takes its place,
over the same connection. It waits for nobody: an answer whose parts don't come holds up no other.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import httpx
from flwr.app import Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ObjectTree,
    PullObjectRequest,
    PullObjectResponse,
)
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.supercore.inflatable.inflatable_utils import validate_object_content
from flwr.superlink.grid import HttpGrid

from shared.flower.download import download
from shared.flower.inline import LARGEST, array_bytes, enclose

__all__ = ["HttpGrid", "Mailbox", "spoiled"]


class Mailbox:
    """Sends and collects the messages of a run.

    Args:
        grid: Flower's, of a deployment; its connection is used.
    """

    def __init__(self, grid: HttpGrid) -> None:
        self._grid = grid
        self._client = grid._runtime_client
        self._run_id = grid.run.run_id
        self._coming: list[tuple[Message, ObjectTree]] = []  # answers whose parts are still being brought

    def send(self, messages: Sequence[Message]) -> list[str]:
        """Send messages; returns their identities, an empty one where Flower did not take a message."""
        identities: list[str] = []
        for batch in _batches(messages):
            enclosed = [enclose(message) for message in batch]
            request = PushAppMessagesRequest(
                messages_list=[message for message, _ in enclosed],
                message_object_trees=[tree for _, tree in enclosed],
            )
            identities += self._client.PushMessages(request).message_ids
        return identities

    def collect(self, identities: Iterable[str]) -> Iterator[Message]:
        """Yield the answers to messages that have come whole and were not collected yet.

        A large one is fetched when it is its turn, so that memory does not grow with their number.
        """
        yield from self._heads(identities)
        for pair in [pair for pair in self._coming if self._is_whole(pair[1])]:
            self._coming.remove(pair)
            yield self._inflated(*pair)

    def forget(self, identities: Iterable[str]) -> None:
        """Give up the answers to messages, with what has come of them.

        It would only free memory sooner, so it never fails. Flower closes the connection of a process that is
        told to end, and httpx then raises a RuntimeError: in the place of the end that is under way, it would
        make a failure out of a run that was broken off.
        """
        with suppress(httpx.HTTPError, RuntimeError):
            self._heads(identities)
            for _, tree in self._coming:
                self._confirm(tree)
        self._coming.clear()

    def _heads(self, identities: Iterable[str]) -> list[Message]:
        """Return the answers that have their content inside; note the others, which Flower hands out once."""
        noted = {head.metadata.reply_to_message_id for head, _ in self._coming}
        left = [identity for identity in identities if identity not in noted]
        if not left:
            return []
        response = self._client.PullMessages(PullAppMessagesRequest(message_ids=left))
        whole = []
        for proto, tree in zip(response.messages_list, response.message_object_trees, strict=True):
            message = message_from_proto(proto)
            if tree.children:
                self._coming.append((message, tree))
            else:  # the content is inside, or it is an error
                whole.append(message)
        return whole

    def _is_whole(self, tree: ObjectTree) -> bool:
        """Say if all parts of an answer are there, or lost: a site brings the root last."""
        response = self._pull(tree.object_id)
        return not response.object_found or bool(response.object_available)

    def _inflated(self, head: Message, tree: ObjectTree) -> Message:
        """Fetch the objects of an answer; where they are lost or make no sense, it is an error."""
        try:
            content = download(tree.children[0], self._pull_object)
        except httpx.HTTPError:
            raise
        except Exception as error:  # lost, or whatever Flower's parsers make of what a site sent
            answer = spoiled(head, f"its parts can't be had ({error})")
        else:
            if isinstance(content, RecordDict):
                answer = make_message(metadata=head.metadata, content=content)
            else:
                answer = spoiled(head, "it has no content")
        self._confirm(tree)
        return answer

    def _confirm(self, tree: ObjectTree) -> None:
        """Let the SuperLink forget an answer's parts."""
        confirmation = ConfirmMessageReceivedRequest(
            node=self._grid.node, run_id=self._run_id, message_object_id=tree.object_id
        )
        self._client.ConfirmMessageReceived(confirmation)

    def _pull_object(self, object_id: str) -> bytes:
        response = self._pull(object_id)
        if not response.object_available:
            raise ValueError("one is missing")
        validate_object_content(response.object_content)
        return bytes(response.object_content)

    def _pull(self, object_id: str) -> PullObjectResponse:
        request = PullObjectRequest(node=self._grid.node, run_id=self._run_id, object_id=object_id)
        return self._client.PullObject(request)


def spoiled(head: Message, reason: str) -> Message:
    """Return the error that stands for an answer of which there is no more than its head."""
    return make_message(metadata=head.metadata, error=Error(ErrorCode.MESSAGE_UNAVAILABLE, reason))


def _batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Yield messages in groups that fit into one request each."""
    batch: list[Message] = []
    size = 0
    for message in messages:
        size += array_bytes(message.content)
        if batch and size > LARGEST:
            yield batch
            batch, size = [], array_bytes(message.content)
        batch.append(message)
    if batch:
        yield batch
