"""What a run asks of its mailbox: large answers one by one, and nothing while its process is being ended."""

from types import SimpleNamespace

import httpx
import pytest
from flwr.app import Message, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ObjectTree, PullObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesResponse

from shared.flower.mailbox import Mailbox


def test_giving_answers_up_does_not_hide_that_the_process_ends():
    with httpx.Client() as closed:
        pass

    def pull_messages(_):  # as Flower's client does once its process was told to end
        return closed.get("http://127.0.0.1:1")

    client = SimpleNamespace(PullMessages=pull_messages)
    grid = SimpleNamespace(_runtime_client=client, run=SimpleNamespace(run_id=1))

    def told_to_end():
        try:
            raise SystemExit
        finally:
            Mailbox(grid).forget(["message"])

    with pytest.raises(SystemExit):
        told_to_end()


def test_a_large_answer_is_fetched_when_it_is_its_turn(monkeypatch):
    answers = {name: Message(RecordDict(), 7, "train") for name in ("a", "b")}
    for name, answer in answers.items():
        answer.metadata.__dict__["_reply_to_message_id"] = name
    pulled = []

    def pull_object(request):
        pulled.append(request.object_id)
        return PullObjectResponse(object_found=True, object_available=False)

    client = SimpleNamespace(
        PullMessages=lambda _: PullAppMessagesResponse(
            messages_list=[message_to_proto(answer) for answer in answers.values()],
            message_object_trees=[
                ObjectTree(object_id=name, children=[ObjectTree(object_id=f"parts of {name}")])
                for name in answers
            ],
        ),
        PullObject=pull_object,
        ConfirmMessageReceived=lambda _: None,
    )
    mailbox = Mailbox(SimpleNamespace(_runtime_client=client, run=SimpleNamespace(run_id=1), node=Node()))
    monkeypatch.setattr(mailbox, "_is_whole", lambda _: True)
    coming = mailbox.collect(["a", "b"])
    assert next(coming).metadata.reply_to_message_id == "a"
    assert pulled == ["parts of a"]
    assert next(coming).metadata.reply_to_message_id == "b"
    assert list(coming) == list(mailbox.collect([])) == []
