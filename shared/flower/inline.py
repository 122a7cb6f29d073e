"""Messages that carry their content in themselves.

Flower sends every record, array and chunk of a message as an object of its own, each in an HTTP request that
costs the SuperLink 10 to 20 ms of one core. Its protocol and its database also know messages with their
content inside: one request each way. Large contents stay in objects, so that no request gets too big.
"""

from flwr.app import Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import ObjectTree

from shared.wire.flat_array import array_records

LARGEST = 6 * 2**20
"""Bytes of arrays that travel inside messages in one request; the gateway takes requests of 8 MiB."""


def enclose(message: Message) -> tuple[ProtoMessage, ObjectTree]:
    """Return a message as it is sent with its content inside, and the list of its objects, which has none.

    The message gets its identity here: a hash of its head, which no two messages share, as it says when the
    message was made and for whom.
    """
    identity = identity_of(message)
    message.metadata.__dict__["_message_id"] = identity
    return message_to_proto(message), ObjectTree(object_id=identity)


def identity_of(message: Message) -> str:
    """Return the identity that a message gets when it is sent."""
    return str(remove_content_from_message(message).object_id)


def array_bytes(content: RecordDict) -> int:
    """Return the bytes of a content's arrays, as they travel."""
    return sum(len(array.data) for record in array_records(content).values() for array in record.values())
