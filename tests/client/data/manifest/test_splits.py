"""Splits by patient: keyed, fixed by the site, stable under additions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.manifest.rows import Record
from client.data.manifest.splits import CohortKey, Split, SplitTable
from shared.errors import JobError

patients = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=60)
share = st.floats(0, 0.5)
fold = st.none() | st.integers(1, 5)
KEY = CohortKey(bytes(range(32)))


def records(ids: list[str], splits: list[str] | None = None) -> list[Record]:
    chosen = splits or [None] * len(ids)
    return [
        Record(row, name, (), split=split) for row, (name, split) in enumerate(zip(ids, chosen, strict=True))
    ]


def split(validation: float = 0.15, test: float = 0.2, key: CohortKey = KEY) -> Split:
    return Split(key, SplitTable(validation=validation, test=test))


@given(patients, share, share, fold)
def test_no_patient_straddles(ids: list[str], validation: float, test: float, fold: int | None) -> None:
    sides = split(validation, test).sides(records(ids), fold)
    assert len({(name, side) for name, side in zip(ids, sides, strict=True)}) == len(set(ids))


@given(patients, patients, share, share, fold)
def test_additions_move_nobody(
    ids: list[str], more: list[str], validation: float, test: float, fold: int | None
) -> None:
    before = split(validation, test).sides(records(ids), fold)
    after = split(validation, test).sides(records(ids + more), fold)
    assert after[: len(ids)] == before


def test_the_shares_are_kept_in_the_large() -> None:
    sides = split(0.25, 0.2).sides(records([f"p{n}" for n in range(4000)]))
    assert abs(sides.count("test") / 4000 - 0.2) < 0.02
    assert abs(sides.count("val") / 4000 - 0.8 * 0.25) < 0.02


def test_every_patient_who_does_not_test_is_in_one_fold() -> None:
    ids = records([f"p{n}" for n in range(2000)])
    sides = [split().sides(ids, number) for number in range(1, 6)]
    tests = [side == "test" for side in split().sides(ids)]
    for own, is_test in zip(zip(*sides, strict=True), tests, strict=True):
        assert sorted(own) == (["test"] * 5 if is_test else ["train"] * 4 + ["val"])
    assert all(abs(own.count("val") / 1600 - 0.2) < 0.04 for own in sides)


def test_a_fold_that_the_site_has_not_is_refused_with_those_it_has() -> None:
    with pytest.raises(JobError, match=r"(?s)\[data\] fold: is 6, and this site has 5.*from 1 to 5"):
        split().sides(records(["p"]), 6)


def test_the_column_decides_and_val_is_cut_out_of_train_alone() -> None:
    ids, column = [f"p{n}" for n in range(200)], ["train"] * 150 + ["test"] * 50
    sides = split(0.3, 0.5).sides(records(ids, column))
    assert sides[150:] == ["test"] * 50
    assert set(sides[:150]) == {"train", "val"}


def test_a_column_with_val_is_left_alone_unless_the_job_takes_a_fold() -> None:
    column = ["train"] * 60 + ["val", "test"]
    rows = records([f"p{n}" for n in range(62)], column)
    assert split(0.5, 0.5).sides(rows) == column
    folded = split(0.5, 0.5).sides(rows, 1)
    assert folded[-1] == "test"
    assert 0 < folded.count("val") < 40


def test_whoever_lacks_the_key_can_say_nothing_of_a_side() -> None:
    ids = records([f"p{n}" for n in range(1000)])
    guesses = split(0.5, 0.5, CohortKey(bytes(32))).sides(ids)
    hits = sum(a == b for a, b in zip(split(0.5, 0.5).sides(ids), guesses, strict=True))
    assert 300 < hits < 450  # (1/2)² + (1/4)² + (1/4)² of them: chance


def test_the_hash_is_the_same_on_every_machine() -> None:
    assert KEY.position("TCGA_CS_4941", "test") == 0.9710961883866922


def test_the_secret_is_not_in_what_is_logged() -> None:
    assert KEY.secret.hex() not in repr(split())
    assert repr(KEY.secret) not in repr(split())


@given(patients, st.floats(0, 1), st.floats(0, 1))
def test_a_share_of_the_patients_leaves_all_who_test(ids: list[str], one: float, other: float) -> None:
    rows = records(ids)
    pairs = list(zip(rows, split().sides(rows), strict=True))
    fewer, more = (
        {(record.row, side) for record, side in Split(KEY, used=used).in_use(pairs)}
        for used in sorted((one, other))
    )
    assert fewer <= more
    assert {pair for pair in fewer if pair[1] == "test"} == {
        (record.row, side) for record, side in pairs if side == "test"
    }
    assert Split(KEY).in_use(pairs) == pairs
    assert all(side == "test" for _, side in Split(KEY, used=0.0).in_use(pairs))
