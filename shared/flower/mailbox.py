"""The coordinator's end of Flower's messages: small contents travel inside their messages.

Flower's own Grid asks for the objects of every answer; this takes its place, over the same connection.
"""

from collections.abc import Iterable, Sequence
from typing import cast

from flwr.app import Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    inflate_object_from_contents,
    pull_objects,
)
from flwr.superlink.grid import HttpGrid

from shared.flower.inline import enclose, fits
from shared.flower.parcels import wrap

__all__ = ["HttpGrid", "Mailbox"]


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
        if not fits(message.content for message in messages):
            return list(self._grid.push_messages(_in_parcels(messages)))
        enclosed = [enclose(message) for message in messages]
        request = PushAppMessagesRequest(
            messages_list=[message for message, _ in enclosed],
            message_object_trees=[tree for _, tree in enclosed],
        )
        return list(self._client.PushMessages(request).message_ids)

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
        """Fetch the objects of an answer; an answer whose objects are lost is an error."""
        pull = make_pull_object_fn_protobuf(self._client.PullObject, self._grid.node, self._run_id)
        try:
            contents = pull_objects([part.object_id for part in iterate_object_tree(tree)], pull)
        except ObjectPullError as error:
            lost = Error(ErrorCode.MESSAGE_UNAVAILABLE, f"its parts can't be had ({error})")
            return make_message(metadata=head.metadata, error=lost)
        confirmation = ConfirmMessageReceivedRequest(
            node=self._grid.node, run_id=self._run_id, message_object_id=tree.object_id
        )
        self._client.ConfirmMessageReceived(confirmation)
        return cast(Message, inflate_object_from_contents(tree.object_id, contents))


def _in_parcels(messages: Sequence[Message]) -> Sequence[Message]:
    """Let each content travel as one object; what several messages share stays shared."""
    parcels: dict[int, RecordDict] = {}
    for message in messages:
        content = message.content
        if id(content) not in parcels:
            parcels[id(content)] = wrap(content)
        message.content = parcels[id(content)]
    return messages
