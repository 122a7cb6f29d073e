"""A message that carries its content in itself arrives as it was sent."""

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from hypothesis import given
from hypothesis import strategies as st

from shared.flower import COORDINATOR_NODE, become
from shared.flower.inline import enclose
from shared.wire.flat_array import to_array, view


def message(values: np.ndarray, node: int = 7) -> Message:
    become(COORDINATOR_NODE)
    content = {"arrays": ArrayRecord({"vector": to_array(values)}), "config": ConfigRecord({"round": 3})}
    return Message(RecordDict(content), node, "train", ttl=60.0)


@given(st.binary(max_size=1000))
def test_what_is_enclosed_is_read(content: bytes) -> None:
    sent = message(np.frombuffer(content, np.uint8))
    proto, tree = enclose(sent)
    read = message_from_proto(ProtoMessage.FromString(proto.SerializeToString()))
    assert view(read.content["arrays"]["vector"]).tobytes() == content
    assert read.content["config"]["round"] == 3
    assert read.metadata.message_id == tree.object_id
    assert not tree.children  # nothing else has to be fetched


def test_messages_of_one_content_have_identities_of_their_own() -> None:
    values = np.zeros(3, np.float32)
    assert len({enclose(message(values, node))[1].object_id for node in (5, 6, 7)}) == 3


def test_an_error_is_enclosed_too() -> None:
    question = message(np.zeros(1, np.float32))
    enclose(question)
    proto, _ = enclose(Message(Error(1000, "no luck"), reply_to=question))
    assert message_from_proto(proto).error.reason == "no luck"
