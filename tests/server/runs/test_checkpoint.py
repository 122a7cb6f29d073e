"""A checkpoint comes back as it was written, or is refused: never a part of it, never of another job."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.runs.checkpoint import Best, Checkpoint, Unjudged, on_disk, read_checkpoint, write_checkpoint
from shared.errors import RunError
from shared.metrics.curves import Curves

VECTOR = np.arange(6, dtype=np.float32)
CURVES = Curves(np.array([[0.5, 1.5]]), np.array([[1, 2, 3]]), np.array([[4, 5, 6]]))
ONE_BIN = Curves(np.zeros((2, 0)), np.array([[1], [2]]), np.array([[3], [4]]))
STATE = Checkpoint(
    round=3,
    vector=VECTOR,
    strategy={"m_t": VECTOR * 2, "v_t": VECTOR**2},
    best=Best(2, 0.75, VECTOR + 1, ONE_BIN),
    stale=1,
    curves=CURVES,
)
UNJUDGED = Unjudged({"round": 3, "train_loss": 1 / 3}, [{"site": "a", "bytes": 7}])


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("checkpoint") / "c.safetensors"
    write_checkpoint(path, STATE, "digest")
    return path.read_bytes()


def same_curves(one: Curves | None, other: Curves | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(np.array_equal(vars(one)[name], vars(other)[name]) for name in vars(one))


def same(one: Checkpoint, other: Checkpoint) -> bool:
    return (
        (one.round, one.stale, one.unjudged) == (other.round, other.stale, other.unjudged)
        and np.array_equal(one.vector, other.vector)
        and one.strategy.keys() == other.strategy.keys()
        and all(np.array_equal(one.strategy[name], other.strategy[name]) for name in one.strategy)
        and same_curves(one.curves, other.curves)
        and (one.best is None) == (other.best is None)
        and (
            one.best is None
            or other.best is None
            or (
                (one.best.round, one.best.value) == (other.best.round, other.best.value)
                and np.array_equal(one.best.vector, other.best.vector)
                and same_curves(one.best.curves, other.best.curves)
            )
        )
    )


@pytest.mark.parametrize("state", [STATE, Checkpoint(0, VECTOR), replace(STATE, unjudged=UNJUDGED)])
def test_it_comes_back_as_it_was(tmp_path, state):
    write_checkpoint(tmp_path / "c", state, "digest")
    assert same(read_checkpoint(tmp_path / "c", "digest"), state)


def test_it_belongs_to_one_job(tmp_path):
    write_checkpoint(tmp_path / "c", STATE, "digest")
    with pytest.raises(RunError, match="another job"):
        read_checkpoint(tmp_path / "c", "other")


def test_every_cut_is_noticed(tmp_path, content):
    for length in range(len(content)):
        (tmp_path / "c").write_bytes(content[:length])
        with pytest.raises(RunError, match="damaged"):
            read_checkpoint(tmp_path / "c", "digest")


@given(st.data())
def test_no_changed_bit_changes_what_is_read(tmp_path_factory, content, data):
    place = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(changed)
    try:
        found = read_checkpoint(path, "digest")
    except RunError:
        return
    assert same(found, STATE)  # a space of the header became another white space


def test_a_file_of_something_else_is_refused(tmp_path):
    import safetensors.numpy

    for metadata in (None, {"wardround": "[]"}, {"wardround": "3"}, {"wardround": "{}"}, {"wardround": "{"}):
        (tmp_path / "c").write_bytes(safetensors.numpy.save({"vector": VECTOR}, metadata))
        with pytest.raises(RunError, match="damaged"):
            read_checkpoint(tmp_path / "c", "digest")
    with pytest.raises(RunError, match="no checkpoint"):
        read_checkpoint(tmp_path / "missing", "digest")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError):
        read_checkpoint(tmp_path / "folder", "digest")


def test_large_models_are_read_from_the_disk_and_stay_when_the_next_round_is_written(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    vector = np.random.default_rng(0).normal(size=2**19).astype(np.float32)
    given = replace(STATE, vector=vector, best=Best(2, 0.75, vector + 1))
    write_checkpoint(path, given, "digest")
    assert on_disk(path, given) is given  # small enough
    monkeypatch.setattr("server.runs.checkpoint.LARGE", vector.nbytes)
    tracemalloc.start()
    kept = on_disk(path, given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < vector.nbytes / 8
    write_checkpoint(path, STATE, "digest")
    assert same(kept, given)
    write_checkpoint(path, kept, "digest")
    assert same(read_checkpoint(path, "digest"), given)
