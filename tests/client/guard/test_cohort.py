"""What a site remembers of its patients: a split for good, and no figures that differ by a few of them."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data.manifest.splits import CohortKey, SplitTable
from client.guard.cohort import Cohort, side_of
from client.guard.cohort_book import BOOK, CohortBook
from client.settings.cohort_key import make_key, read_key
from client.settings.policy import PolicyError
from shared.errors import SiteError
from shared.pki.certificates import CredentialError

KEY = CohortKey(bytes(range(32)))
LEAST = 10


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    return tmp_path


def people(count: int, start: int = 0) -> frozenset[str]:
    return frozenset(f"p{number}" for number in range(start, start + count))


# The key


def test_the_key_is_made_once_and_for_this_user_alone(folder: Path) -> None:
    first = make_key(folder / "keys")
    assert make_key(folder / "keys") == first == read_key(folder / "keys")
    file = folder / "keys" / "cohort.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in (folder / "keys").iterdir()] == ["cohort.key"]
    assert make_key_elsewhere(folder) != first


def make_key_elsewhere(folder: Path) -> CohortKey:
    (folder / "other").mkdir()
    return make_key(folder / "other")


@pytest.mark.parametrize(
    ("content", "mode", "said"), [(b"short", 0o600, "5 bytes"), (bytes(32), 0o644, "other users")]
)
def test_a_key_that_is_none_is_refused(folder: Path, content: bytes, mode: int, said: str) -> None:
    file = folder / "keys" / "cohort.key"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(CredentialError, match=said):
        Cohort.open(folder)


def test_a_rehearsal_writes_nothing(folder: Path) -> None:
    assert Cohort.rehearsed(folder) is None
    make_key(folder / "keys")
    rehearsed = Cohort.rehearsed(folder)
    assert rehearsed is not None
    rehearsed.split("brain", SplitTable(), "brain.csv")
    rehearsed.tell("brain", "train", people(20), LEAST, "st-mary")
    assert not (folder / BOOK).exists()


# The split


def test_a_split_stays_as_it_was_at_its_first_use(folder: Path) -> None:
    Cohort.open(folder).split("brain", SplitTable(test=0.3), "brain.csv")
    Cohort.open(folder).split("brain", SplitTable(test=0.3), "brain.csv")
    with pytest.raises(
        SiteError, match=r"(?s)datasets\.brain\.split.*test = 0\.3, validation = 0\.15, folds = 5"
    ):
        Cohort.open(folder).split("brain", SplitTable(test=0.3 + 2**-40), "brain.csv")
    Cohort.open(folder).split("another", SplitTable(), "brain.csv")


def test_another_key_is_noticed(folder: Path) -> None:
    Cohort.open(folder).split("brain", SplitTable(), "brain.csv")
    (folder / "keys" / "cohort.key").unlink()
    with pytest.raises(SiteError, match=r"(?s)not the one.*backup"):
        Cohort.open(folder).split("brain", SplitTable(), "brain.csv")


# The groups


def test_a_few_new_patients_wait_until_they_are_enough(folder: Path) -> None:
    cohort = Cohort.open(folder)

    def jobs(count: int) -> int:
        group = cohort.admitted("brain", "train", people(count), LEAST)
        cohort.tell("brain", "train", group, LEAST, "st-mary")
        return len(group)

    assert [jobs(count) for count in (50, 50, 51, 59, 60, 61, 80)] == [50, 50, 50, 50, 60, 60, 80]


def test_patients_who_left_are_a_persons_decision(folder: Path) -> None:
    cohort = Cohort.open(folder)
    cohort.tell("brain", "train", people(50), LEAST, "st-mary")
    fewer = cohort.admitted("brain", "train", people(49), LEAST)
    with pytest.raises(PolicyError, match=r"(?s)policy\.min_group.*client cohort accept brain") as refusal:
        cohort.tell("brain", "train", fewer, LEAST, "st-mary")
    assert "49" not in str(refusal.value)
    assert Cohort.open(folder).may_tell("brain", "train", people(40), LEAST)
    CohortBook(folder / BOOK).accept("brain")
    cohort.tell("brain", "train", fewer, LEAST, "st-mary")


def test_groups_are_compared_across_sides_and_folds_but_not_across_datasets(folder: Path) -> None:
    cohort = Cohort.open(folder)
    cohort.tell("brain", side_of("train", None), people(50), LEAST, "st-mary")
    with pytest.raises(PolicyError):
        cohort.tell("brain", side_of("train", 2), people(45), LEAST, "st-mary")
    cohort.tell("brain", side_of("train", 3), people(40), LEAST, "st-mary")
    cohort.tell("lungs", "train", people(45), LEAST, "st-mary")


def test_no_four_groups_far_apart_tell_one_patient_together(folder: Path) -> None:
    """The figures of A - B - C + D are those of one patient, though each two differ by fifteen or more."""
    cohort, [last] = Cohort.open(folder), people(1, 59)
    groups = [people(60), people(45), people(45, 15), people(30, 15) | {last}]
    for group in groups[:3]:
        cohort.tell("brain", "train", group, LEAST, "st-mary")
    assert not cohort.may_tell("brain", "train", groups[3], LEAST)
    with pytest.raises(PolicyError, match=r"policy\.min_group"):
        cohort.tell("brain", "train", groups[3], LEAST, "st-mary")
    cohort.tell("brain", "train", people(30, 15), LEAST, "st-mary")  # of whom no combination is of few


def test_another_name_makes_no_other_patients_of_those_of_one_manifest(folder: Path) -> None:
    cohort = Cohort.open(folder)
    for name, manifest in (("brain", "a.csv"), ("renamed", "a.csv"), ("lungs", "b.csv")):
        cohort.split(name, SplitTable(), manifest)
    cohort.tell("brain", "train", people(50), LEAST, "st-mary")
    assert cohort.admitted("renamed", "train", people(53), LEAST) == people(50)  # three wait here too
    cohort.tell("renamed", "train", people(50), LEAST, "st-mary")
    with pytest.raises(PolicyError, match="differ from those behind an earlier one"):
        cohort.tell("renamed", "val", people(45), LEAST, "st-mary")
    cohort.tell("lungs", "train", people(45), LEAST, "st-mary")
    cohort.split("renamed", SplitTable(), "moved.csv")  # the groups of before are not forgotten
    with pytest.raises(PolicyError):
        cohort.tell("renamed", "train", people(49), LEAST, "st-mary")
    assert CohortBook(folder / BOOK).accept("renamed") == 2
    cohort.tell("renamed", "train", people(49), LEAST, "st-mary")


def test_nobody_is_named_in_the_book(folder: Path) -> None:
    Cohort.open(folder).tell("brain", "train", frozenset({"Mueller-Hans", *people(20)}), LEAST, "st-mary")
    assert b"Mueller" not in (folder / BOOK).read_bytes()


edit = st.tuples(st.sampled_from(["add", "remove", "job", "accept"]), st.integers(0, 25))


@settings(max_examples=60)
@given(st.lists(edit, min_size=1, max_size=25), st.integers(0, 2**32 - 1))
def test_no_two_figures_ever_differ_by_a_few_patients(edits: list[tuple[str, int]], seed: int) -> None:
    """Whatever jobs ask, and whatever becomes of the manifest; until a person accepts."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cohort = Cohort(CohortKey.drawn(seed), CohortBook(Path(folder) / BOOK))
        split = cohort.split("brain", SplitTable(), "brain.csv")
        patients, new, told = set(people(60)), 1000, []
        for kind, number in edits:
            if kind == "add":
                patients |= people(number, new)
                new += number
            elif kind == "remove":
                patients -= set(sorted(patients)[:number])
            elif kind == "accept":
                CohortBook(Path(folder) / BOOK).accept("brain")
                told = []
            else:
                told += ask(cohort, split.sides, patients, number % 6 or None)
        for at, group in enumerate(told):
            assert all(not 0 < len(group ^ other) < LEAST for other in told[:at])


def ask(
    cohort: Cohort, sides: Callable[..., list[str]], patients: set[str], fold: int | None
) -> list[frozenset[str]]:
    """Ask for all figures of a job; return the groups behind those that were told."""
    from client.data.manifest.rows import Record

    names = sorted(patients)
    drawn = sides([Record(row, name, ()) for row, name in enumerate(names)], fold)
    told = []
    for side in ("train", "val", "test"):
        own = frozenset(name for name, where in zip(names, drawn, strict=True) if where == side)
        group = cohort.admitted("brain", side_of(side, fold), own, LEAST)
        if len(group) < LEAST:
            continue
        try:
            cohort.tell("brain", side_of(side, fold), group, LEAST, "st-mary")
        except PolicyError:
            continue
        told.append(group)
    return told


# The command


def test_a_person_sees_who_waits_and_decides(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from shared.audit.verify import entries
    from shared.pki.certificates import new_key, save_key
    from wardround.cli import main

    def client(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["client", "cohort", "--dir", str(folder), *arguments])
        assert not end.value.code
        return capsys.readouterr().out

    def offer(count: int) -> None:
        rows = [f"p{number},{number}.png,train\n" for number in range(count)]
        (folder / "manifest.csv").write_text("patient,image,split\n" + "".join(rows))

    save_key(folder / "keys" / "site.key", new_key())
    (folder / "site.toml").write_text(
        '[site]\nname = "st-mary"\n[datasets.brain]\nmanifest = "manifest.csv"\n'
        "[datasets.brain.split]\nvalidation = 0.0\n"
    )
    offer(30)
    assert "no keys/cohort.key yet" in client()
    cohort = Cohort.open(folder)
    assert "not used yet" in client()
    split = cohort.split("brain", SplitTable(validation=0.0), "brain.csv")
    assert split.shares.folds == 5
    cohort.tell("brain", "train", people(30), LEAST, "st-mary")
    offer(31)
    assert "1 new patient of 'train' waits until there are 10" in client()
    offer(29)
    assert "of 'train' nothing is told" in client()
    assert "accepted; 1 earlier group no longer counts." in client("accept", "brain", "--yes")
    assert "nothing is told" not in client()
    assert [entry.event for entry in entries(folder / "audit")][-1] == "cohort-accepted"
