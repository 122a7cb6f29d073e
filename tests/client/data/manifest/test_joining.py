"""`wardround data join`: the columns of a second table beside the rows of a manifest."""

import csv
from pathlib import Path

import pytest

from client.data.manifest.joining import join
from shared.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with images of two patients, and a table of two others and one of them."""
    (tmp_path / "images").mkdir()
    for name in ("a1", "a2", "b1"):
        (tmp_path / f"images/{name}.png").touch()
    (tmp_path / "manifest.csv").write_text(
        "patient,image,mask,sex\nann,images/a1.png,images/a1.png|images/a2.png,f\nann,images/a2.png,,f\n"
        "ben,images/b1.png,,m\n"
    )
    (tmp_path / "clinic.csv").write_text("id,who,age,sex\n1,ann,61,f\n2,cas,48,m\n3,,20,m\n")
    return tmp_path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_row_has_the_columns_of_its_patient(folder: Path) -> None:
    joined = join(folder, folder / "clinic.csv", folder / "both.csv", theirs="who")
    assert [(row["patient"], row["id"], row["age"], row["sex"]) for row in rows(folder / "both.csv")] == [
        ("ann", "1", "61", "f"),
        ("ann", "1", "61", "f"),
        ("ben", "", "", "m"),
    ]
    assert (joined.rows, joined.matched, joined.unused) == (3, 2, 1)
    assert (list(joined.added), list(joined.kept)) == (["id", "age"], ["sex"])
    joined = join(folder, folder / "clinic.csv", folder / "some.csv", theirs="who", drop=True)
    assert joined.rows == len(rows(folder / "some.csv")) == 2


def test_files_are_named_as_seen_from_the_new_manifest(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    join(folder, folder / "clinic.csv", folder / "elsewhere/both.csv", theirs="who")
    first = rows(folder / "elsewhere/both.csv")[0]
    assert first["image"] == "../images/a1.png"
    assert first["mask"] == "../images/a1.png|../images/a2.png"
    assert (folder / "elsewhere" / first["image"]).is_file()


def test_a_patient_whose_folder_has_their_name_keeps_it(tmp_path: Path) -> None:
    """By another name they would be on another side of the split: who tests would train the next model."""
    for name in ("ann", "bob", "yes", "50"):
        (tmp_path / name).mkdir()
    (tmp_path / "manifest.csv").write_text("patient,image,label,age\nann,ann,yes,50\nbob,bob,no,60\n")
    (tmp_path / "clinic.csv").write_text("patient,grade\nann,1\nbob,2\n")
    (tmp_path / "elsewhere").mkdir()
    join(tmp_path, tmp_path / "clinic.csv", tmp_path / "elsewhere/both.csv")
    assert [list(row.values()) for row in rows(tmp_path / "elsewhere/both.csv")] == [
        ["ann", "../ann", "yes", "50", "1"],
        ["bob", "../bob", "no", "60", "2"],
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("who,age\nann,1\nann,2\n", "has 'ann' twice in its column 'who'"),
        ("who,age\nxi,1\n", "none of its 'who' is a 'patient'"),
        ("name,age\nann,1\n", "has no column 'who'"),
        ("who,sex\nann,f\n", "has no column that the manifest lacks"),
    ],
)
def test_what_does_not_fit_is_refused(folder: Path, table: str, message: str) -> None:
    (folder / "clinic.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        join(folder, folder / "clinic.csv", folder / "both.csv", theirs="who")
    assert not (folder / "both.csv").exists()


def test_nothing_is_overwritten(folder: Path) -> None:
    with pytest.raises(DataError, match="is there already"):
        join(folder, folder / "clinic.csv", folder / "manifest.csv", theirs="who")
