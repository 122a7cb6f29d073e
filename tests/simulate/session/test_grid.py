"""The Grid of a simulation: messages arrive as they were sent, answers as they are ready."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from shared.errors import DataError
from simulate.session.grid import LocalGrid, node_id, pack, unpack
from simulate.workers import InProcess

CONTENT = {
    "arrays": ArrayRecord(
        {"vector": Array(np.arange(5, dtype=np.float32)), "empty": Array(np.zeros((0, 2)))}
    ),
    "config": ConfigRecord({"job": "{}", "round": 3, "rate": 0.5, "flags": [1, 2], "raw": b"\x00"}),
    "metrics": MetricRecord({"loss": 0.25, "counts": [1, 2, 3]}),
}


class Echo:
    """A host that sends back what it got; the site 'broken' can't, the site 'buggy' has a fault."""

    def handle(self, call):
        if call.site == "broken":
            raise DataError("the disk is gone", where="/images")
        if call.site == "buggy":
            raise ZeroDivisionError
        return {"records": call.payload["records"]}, dict(call.arrays)


@pytest.fixture
def grid():
    with InProcess(Echo, 1) as workers:
        yield LocalGrid(workers, ["north", "south", "broken", "buggy"])


def ask(grid, sites):
    return [grid.create_message(RecordDict(CONTENT), "train", node_id(site), "1") for site in sites]


def same(content: RecordDict) -> bool:
    return all(
        np.array_equal(content["arrays"][name].numpy(), CONTENT["arrays"][name].numpy())
        for name in CONTENT["arrays"]
    ) and all(dict(content[key]) == dict(CONTENT[key]) for key in ("config", "metrics"))


def test_a_message_is_put_together_again():
    payload, arrays = pack(RecordDict(CONTENT))
    assert same(unpack(payload, arrays))


def test_each_site_answers_its_own_question(grid):
    asked = ask(grid, ["north", "south"])
    answers = list(grid.send_and_receive(asked))
    assert {answer.metadata.src_node_id for answer in answers} == {node_id("north"), node_id("south")}
    for answer in answers:
        assert same(answer.content)
        [question] = [one for one in asked if one.metadata.dst_node_id == answer.metadata.src_node_id]
        assert answer.metadata.reply_to_message_id == question.metadata.message_id


def test_errors_come_as_answers(grid):
    answers: dict[int, Message] = {
        answer.metadata.src_node_id: answer
        for answer in grid.send_and_receive(ask(grid, ["broken", "buggy", "north"]))
    }
    assert "/images: the disk is gone" in answers[node_id("broken")].error.reason
    assert "ZeroDivisionError" in answers[node_id("buggy")].error.reason
    assert not answers[node_id("north")].has_error()


def test_who_stops_listening_loses_the_other_answers(grid):
    answers = grid.send_and_receive(ask(grid, ["north", "south"]))
    next(answers)
    answers.close()
    assert len(list(grid.send_and_receive(ask(grid, ["south"])))) == 1


def test_after_the_deadline_nobody_is_waited_for(grid):
    assert list(grid.send_and_receive(ask(grid, ["north"]), timeout=0.0)) == []


def test_answers_can_be_fetched_later(grid):
    [identity] = grid.push_messages(ask(grid, ["north"]))
    [answer] = grid.pull_messages([identity])
    assert same(answer.content)
    assert grid.pull_messages([identity]) == []


def test_node_ids_come_from_the_names(grid):
    assert set(grid.get_node_ids()) == {node_id(site) for site in ("north", "south", "broken", "buggy")}
