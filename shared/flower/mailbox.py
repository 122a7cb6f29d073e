"""The coordinator's end of Flower's messages: small contents travel inside their messages.

Flower's own Grid asks for the objects of every answer, and takes four copies of each; this takes its place,
over the same connection.
"""

import time
from collections.abc import Iterable, Iterator, Sequence

import httpx
from flwr.app import Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.supercore.inflatable.inflatable_utils import validate_object_content
from flwr.superlink.grid import HttpGrid

from shared.flower.download import download
from shared.flower.inline import LARGEST, array_bytes, enclose

__all__ = ["HttpGrid", "Mailbox"]

_SOONEST_LOOK, _LATEST_LOOK = 0.05, 2.0  # seconds between looks for a part that is still being uploaded


class Mailbox:
    """Sends and collects the messages of a run.

    Args:
        grid: Flower's, of a deployment; its connection is used.
    """

    def __init__(self, grid: HttpGrid) -> None:
        self._grid = grid
        self._client = grid._runtime_client
        self._run_id = grid.run.run_id

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

    def collect(self, identities: Iterable[str]) -> list[Message]:
        """Return the answers to messages that have come and were not collected yet."""
        response = self._client.PullMessages(PullAppMessagesRequest(message_ids=identities))
        pairs = zip(response.messages_list, response.message_object_trees, strict=True)
        return [
            self._inflated(message_from_proto(message), tree)
            if tree.children  # else the content is inside, or it is an error
            else message_from_proto(message)
            for message, tree in pairs
        ]

    def _inflated(self, head: Message, tree: ObjectTree) -> Message:
        """Fetch the objects of an answer; where they are lost or make no sense, it is an error."""
        try:
            content = download(tree.children[0], self._pull_object)
        except httpx.HTTPError:
            raise
        except Exception as error:  # lost, or whatever Flower's parsers make of what a site sent
            return _spoiled(head, f"its parts can't be had ({error})")
        if not isinstance(content, RecordDict):
            return _spoiled(head, "it has no content")
        confirmation = ConfirmMessageReceivedRequest(
            node=self._grid.node, run_id=self._run_id, message_object_id=tree.object_id
        )
        self._client.ConfirmMessageReceived(confirmation)
        return make_message(metadata=head.metadata, content=content)

    def _pull_object(self, object_id: str) -> bytes:
        """Fetch one object; one that is still being uploaded is waited for, until Flower gives it up."""
        request = PullObjectRequest(node=self._grid.node, run_id=self._run_id, object_id=object_id)
        wait = _SOONEST_LOOK
        while True:
            response = self._client.PullObject(request)
            if not response.object_found:
                raise ValueError("one is gone")
            if response.object_available:
                validate_object_content(response.object_content)
                return bytes(response.object_content)
            time.sleep(wait)
            wait = min(2 * wait, _LATEST_LOOK)


def _spoiled(head: Message, reason: str) -> Message:
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
