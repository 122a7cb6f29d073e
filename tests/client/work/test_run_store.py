"""What a site keeps of a run: each round begins with what the one before it left, whatever is asked again."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.work.run_store import RunStore
from shared.errors import SiteError

SIZES = {"own": 3}
rounds = st.integers(1, 8)


def numbers(value: float) -> dict[str, np.ndarray]:
    return {"own": np.full(3, value, np.float32)}


@given(st.lists(st.tuples(rounds, rounds)))
def test_a_round_begins_with_what_the_last_one_before_it_left(asked):
    """`(round, best)` in any order; of what is told here, the store has all that a run can ask for."""
    with tempfile.TemporaryDirectory() as folder:
        store, told, since = RunStore(Path(folder)), {}, 9
        for value, (round_, best) in enumerate(asked):
            done = sorted(number for number in told if number < round_)
            since = since if done else round_
            told = {number: told[number] for number in done} | {round_: value}
            store.keep("a run", round_, "strategy", numbers(value), best)
            done = [*done, round_]
            needed = {*done[-3:], *[number for number in done if number <= best][-1:]}
            told = {number: told[number] for number in needed}
        for round_ in range(1, 10):
            earlier = [number for number in told if number < round_]
            if earlier:
                kept = store.before("a run", round_, "strategy", SIZES)
                assert kept["own"].tolist() == [told[max(earlier)]] * 3
            elif told and since < round_:
                with pytest.raises(SiteError, match="kept something"):
                    store.before("a run", round_, "strategy", SIZES)
            else:
                assert store.before("a run", round_, "strategy", SIZES) == {}


def test_runs_and_purposes_lie_beside_each_other(tmp_path):
    store = RunStore(tmp_path / "kept")
    store.keep("one", 1, "strategy", numbers(1))
    store.keep("other", 1, "strategy", numbers(2))
    store.keep("one", 1, "residual", numbers(3))
    kept = {
        (run, purpose): store.before(run, 2, purpose, SIZES)["own"][0]
        for run, purpose in [("one", "strategy"), ("other", "strategy"), ("one", "residual")]
    }
    assert list(kept.values()) == [1, 2, 3]
    paths = list((tmp_path / "kept").rglob("*"))
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o700}


def test_the_oldest_of_five_runs_is_forgotten(tmp_path):
    store = RunStore(tmp_path / "kept")
    for number in range(5):
        store.keep(f"run {number}", 1, "strategy", numbers(number))
    left = [number for number in range(5) if store.before(f"run {number}", 2, "strategy", SIZES)]
    assert left == [1, 2, 3, 4]


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_byte_of_a_file_can_change_unseen(place, change):
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder))
        store.keep("a run", 1, "strategy", numbers(1.5))
        [path] = Path(folder).rglob("*.safetensors")
        content = bytearray(path.read_bytes())
        content[place % len(content)] ^= change
        path.write_bytes(content)
        try:
            kept = store.before("a run", 2, "strategy", SIZES)
        except SiteError:
            return
        assert np.array_equal(kept["own"], numbers(1.5)["own"])  # another blank in the header


@pytest.mark.parametrize("sizes", [{"own": 4}, {"other": 3}, {}])
def test_what_another_job_kept_is_refused(tmp_path, sizes):
    store = RunStore(tmp_path)
    store.keep("a run", 1, "strategy", numbers(1))
    with pytest.raises(SiteError, match="not this job's"):
        store.before("a run", 2, "strategy", sizes)
