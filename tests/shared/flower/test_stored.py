"""Large arrays are named in a message and fetched by whoever does not have them yet."""

from collections.abc import Callable
from hashlib import sha256

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from shared.flower.stored import LARGEST_KEPT, SMALLEST, Shelf, take_out
from shared.wire.flat_array import to_array, view


class Store:
    """Where arrays lie; counts how often it is asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked = 0

    def put(self, data: bytes) -> str:
        digest = sha256(data).hexdigest()
        self.files[digest] = data
        return digest

    def fetch(self, digest: str, size: int) -> bytes:
        self.asked += 1
        assert len(self.files[digest]) == size
        return self.files[digest]


def question(value: float, numbers: int = SMALLEST) -> RecordDict:
    vector, few = np.full(numbers, value, np.float32), np.arange(3.0)
    arrays = ArrayRecord({"vector": to_array(vector), "few": to_array(few)})
    return RecordDict({"arrays": arrays, "config": ConfigRecord({"round": 3})})


def numbers(content: RecordDict) -> dict[str, list[float]]:
    return {name: view(array).tolist() for name, array in content["arrays"].items()}


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=10))
def test_a_site_gets_the_model_that_was_meant_also_after_a_restart(steps: list[tuple[int, bool]]) -> None:
    store = Store()
    shelf = Shelf(store.fetch)
    for value, restarts in steps:
        shelf = Shelf(store.fetch) if restarts else shelf
        asked = question(value)
        content = shelf.complete(take_out(asked, store.put))
        assert numbers(content) == numbers(asked)
        assert content["config"] == asked["config"]


def test_only_what_is_large_is_named_and_the_question_stays_whole() -> None:
    store, asked = Store(), question(1)
    content = take_out(asked, store.put)
    assert len(store.files) == 1
    assert len(content["arrays"]["vector"].data) < 100
    assert view(content["arrays"]["few"]).tolist() == [0, 1, 2]
    assert view(asked["arrays"]["vector"]).shape == (SMALLEST,)


def test_what_a_site_has_is_not_fetched_again_also_when_two_runs_take_turns() -> None:
    store = Store()
    shelf = Shelf(store.fetch)
    for value in (1, 2, 1, 2, 1):
        shelf.complete(take_out(question(value), store.put))
    assert store.asked == 2


def test_a_very_large_array_is_not_kept() -> None:
    store = Store()
    shelf = Shelf(store.fetch)
    for _ in range(2):
        shelf.complete(take_out(question(0, LARGEST_KEPT // 4 + 1), store.put))
    assert store.asked == 2


@pytest.mark.parametrize("change", [lambda data: data[:-1] + b"x", lambda data: b""])
def test_what_came_damaged_is_refused(change: Callable[[bytes], bytes]) -> None:
    store = Store()
    content = take_out(question(1), store.put)
    with pytest.raises(ValueError, match="damaged"):
        Shelf(lambda digest, size: change(store.fetch(digest, size))).complete(content)


@pytest.mark.parametrize(
    "name", [b"", b"../../etc/passwd 3", b"0" * 64, b"0" * 64 + b" -1", b"G" * 64 + b" 1"]
)
def test_a_name_that_makes_no_sense_is_refused_before_anybody_is_asked(name: bytes) -> None:
    content = RecordDict(
        {"arrays": ArrayRecord({"vector": Array("float32", (1,), "wardround.sha256", name)})}
    )
    with pytest.raises(ValueError, match="can't be read"):
        Shelf(Store().fetch).complete(content)
