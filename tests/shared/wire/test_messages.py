"""Whatever arrives is either parsed or a MessageError; what was built is parsed to the same."""

import contextlib
import io

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from shared.wire import messages
from shared.wire.messages import MessageError

SIZE = 4
VECTOR = np.arange(SIZE, dtype=np.float32)


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, VECTOR)
    return buffer.getvalue()


def array(data: bytes) -> Array:
    return Array(dtype="float32", shape=(SIZE,), stype="numpy.ndarray", data=data)


NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats())
SCALARS = st.one_of(NUMBERS, st.text(max_size=6), st.binary(max_size=6), st.booleans())
VALUES = st.one_of(SCALARS, st.lists(st.integers(-5, 2**40), max_size=3), st.lists(st.text(max_size=3)))
GOOD = npy(VECTOR)
BYTES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [GOOD, npz(), npy(np.array([{}], dtype=object)), npy(VECTOR.astype(">f4")), b"", GOOD[:-1]]
    ),
    # one byte of a good array changed: the header's text, its length, the shape
    st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)).map(
        lambda change: GOOD[: change[0]] + bytes([change[1]]) + GOOD[change[0] + 1 :]
    ),
)
ARRAYS = st.dictionaries(
    st.sampled_from([messages.VECTOR, messages.STATES, "other"]), BYTES.map(array), max_size=2
).map(ArrayRecord)
CONFIGS = st.dictionaries(
    st.sampled_from(["job", "layout", "round", "split", "site", "patients-train", "other"]),
    VALUES,
).map(ConfigRecord)
METRICS = st.dictionaries(st.sampled_from(["num-examples", "loss", "seconds", "other"]), NUMBERS).map(
    MetricRecord
)
KEYS = st.sampled_from([messages.ARRAYS, messages.STATES, messages.CONFIG, messages.METRICS, "other"])
CONTENTS = st.dictionaries(KEYS, st.one_of(ARRAYS, CONFIGS, METRICS)).map(RecordDict)
# Nearly right messages, of which one thing is wrong.
REQUEST = {"job": "{}", "layout": "x", "round": 1, "split": "val"}
DESCRIPTION = {"site": "a"} | {
    f"{kind}-{split}": 3 for kind in ("patients", "examples") for split in ("train", "val", "test")
}
UPDATE = {"num-examples": 4, "loss": 0.5, "seconds": 1.0}
PARSERS = {
    "request": messages.read_request,
    "question": messages.read_question,
    "description": messages.read_description,
    "update": lambda content: messages.read_update(content, SIZE),
    "evaluation": messages.read_evaluation,
}


@given(CONTENTS, st.sampled_from(sorted(PARSERS)))
def test_anything_is_parsed_or_refused(content, parser):
    with contextlib.suppress(MessageError):
        PARSERS[parser](content)


@given(BYTES, st.sampled_from(["request", "update", "evaluation"]))
def test_any_bytes_are_an_array_or_refused(data, parser):
    key = {"request": messages.ARRAYS, "update": messages.ARRAYS, "evaluation": messages.STATES}[parser]
    name = messages.STATES if parser == "evaluation" else messages.VECTOR
    content = RecordDict(
        {
            key: ArrayRecord({name: array(data)}),
            messages.CONFIG: ConfigRecord(REQUEST),
            messages.METRICS: MetricRecord(UPDATE),
        }
    )
    with contextlib.suppress(MessageError):
        PARSERS[parser](content)


@given(st.sampled_from(sorted(REQUEST)), VALUES)
def test_a_request_with_one_wrong_entry_is_parsed_or_refused(key, value):
    content = RecordDict(
        {
            messages.ARRAYS: messages.vector_record(VECTOR),
            messages.CONFIG: ConfigRecord(REQUEST | {key: value}),
        }
    )
    try:
        request = messages.read_request(content)
    except MessageError:
        return
    assert request.round >= 0
    assert request.split in ("", "val", "test")


@given(st.sampled_from(sorted(DESCRIPTION)), VALUES)
def test_a_description_with_one_wrong_entry_is_parsed_or_refused(key, value):
    try:
        found = messages.read_description(
            RecordDict({messages.CONFIG: ConfigRecord(DESCRIPTION | {key: value})})
        )
    except MessageError:
        return
    assert all(count >= 0 for count in (*found.patients.values(), *found.examples.values()))


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "", "A", "a\n", "\x1b[31m", ".hidden", "a" * 64])
def test_a_sites_name_can_be_no_path_and_control_no_terminal(name):
    content = RecordDict({messages.CONFIG: ConfigRecord(DESCRIPTION | {"site": name})})
    with pytest.raises(MessageError, match="name"):
        messages.read_description(content)


@pytest.mark.parametrize(
    ("vector", "problem"),
    [
        (VECTOR[:3], r"shape \(3,\) instead of \(4,\)"),
        (VECTOR.reshape(2, 2), "shape"),
        (VECTOR.astype(np.float64), "float64 where float32"),
        (np.array([0, 1, np.nan, 2], dtype=np.float32), "not finite"),
        (np.array([0, 1, np.inf, 2], dtype=np.float32), "not finite"),
    ],
)
def test_an_update_must_hold_one_finite_vector_of_the_right_size(vector, problem):
    record = ArrayRecord({messages.VECTOR: Array(vector)})
    with pytest.raises(MessageError, match=problem):
        messages.read_update(
            RecordDict({messages.ARRAYS: record, messages.METRICS: MetricRecord(UPDATE)}), SIZE
        )


@pytest.mark.parametrize("edges", [np.array([[0.5, 1.5]]), np.zeros((2, 0)), None])
def test_edges_travel_beside_the_model(edges):
    content = {
        messages.ARRAYS: messages.evaluation_record(VECTOR, edges),
        messages.CONFIG: ConfigRecord(REQUEST),
    }
    request = messages.read_request(RecordDict(content))
    np.testing.assert_array_equal(request.vector, VECTOR)
    assert (request.edges is None) == (edges is None)
    if edges is not None:
        np.testing.assert_array_equal(request.edges, edges)


@pytest.mark.parametrize("edges", [np.zeros(2, np.float32), np.array([np.nan]), np.array([1, 2])])
def test_edges_that_are_no_finite_doubles_are_refused(edges):
    arrays = ArrayRecord({messages.VECTOR: Array(VECTOR), messages.EDGES: Array(edges)})
    content = RecordDict({messages.ARRAYS: arrays, messages.CONFIG: ConfigRecord(REQUEST)})
    with pytest.raises(MessageError, match="carries"):
        messages.read_request(content)


def test_what_was_built_is_parsed_to_the_same():
    config = messages.request_config("{}", "layout", 3, split="test")
    request = messages.read_request(
        RecordDict({messages.ARRAYS: messages.vector_record(VECTOR), messages.CONFIG: config})
    )
    assert (request.job, request.layout, request.round, request.split) == ("{}", "layout", 3, "test")
    np.testing.assert_array_equal(request.vector, VECTOR)

    sides = {"train": 3, "val": 2, "test": 1}
    description = messages.Description("st-mary", sides, {key: 2 * count for key, count in sides.items()})
    assert messages.read_description(messages.describe_reply(description)) == description

    update = messages.read_update(messages.train_reply(messages.Update(VECTOR, 9, 0.25, 1.5)), SIZE)
    assert (update.examples, update.loss, update.seconds) == (9, 0.25, 1.5)
    np.testing.assert_array_equal(update.vector, VECTOR)

    states = np.array([1.0, 2.5])
    evaluation = messages.read_evaluation(messages.evaluate_reply(messages.Evaluation(states, 6, 0.5)))
    assert (evaluation.examples, evaluation.seconds) == (6, 0.5)
    np.testing.assert_array_equal(evaluation.states, states)
    assert messages.read_question(messages.describe_request("{}")).job == "{}"
