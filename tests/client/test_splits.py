"""Splits by patient, stable under additions."""

from hypothesis import given
from hypothesis import strategies as st

from client.data.manifest import Record
from client.data.splits import assign_splits, position

patients = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=60)
share = st.floats(0, 0.5)


def records(ids: list[str], splits: list[str] | None = None) -> list[Record]:
    chosen = splits or [None] * len(ids)
    return [
        Record(row, name, (), split=split) for row, (name, split) in enumerate(zip(ids, chosen, strict=True))
    ]


@given(patients, share, share)
def test_no_patient_straddles(ids: list[str], validation: float, test: float) -> None:
    sides = assign_splits(records(ids), validation=validation, test=test)
    assert len({(name, side) for name, side in zip(ids, sides, strict=True)}) == len(set(ids))


@given(patients, patients, share, share)
def test_additions_move_nobody(ids: list[str], more: list[str], validation: float, test: float) -> None:
    before = assign_splits(records(ids), validation=validation, test=test)
    after = assign_splits(records(ids + more), validation=validation, test=test)
    assert after[: len(ids)] == before


def test_the_shares_are_kept_in_the_large() -> None:
    sides = assign_splits(records([f"p{n}" for n in range(4000)]), validation=0.25, test=0.2)
    assert abs(sides.count("test") / 4000 - 0.2) < 0.02
    assert abs(sides.count("val") / 4000 - 0.8 * 0.25) < 0.02


def test_the_column_decides_and_val_is_cut_out_of_train_alone() -> None:
    ids, column = [f"p{n}" for n in range(200)], ["train"] * 150 + ["test"] * 50
    sides = assign_splits(records(ids, column), validation=0.3, test=0.5)
    assert sides[150:] == ["test"] * 50
    assert set(sides[:150]) == {"train", "val"}


def test_a_column_with_val_is_left_alone() -> None:
    column = ["train"] * 30 + ["val"]
    assert assign_splits(records([f"p{n}" for n in range(31)], column), validation=0.5, test=0.5) == column


def test_the_hash_is_the_same_on_every_machine() -> None:
    assert position("TCGA_CS_4941", "test") == 0.4597366245341945
