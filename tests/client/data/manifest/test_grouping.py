"""Rows of a manifest become bags: files joined, what is the same kept, nothing mixed without a word."""

import csv
from pathlib import Path

import pytest

from client.data.manifest.grouping import Grouping, write_grouped
from shared.errors import DataError

TABLE = """site,patient,slice,image,label,grade,split
north,ann,10,images/a10.png,1,II,train
north,ann,9,images/a9.png,0,II,train
south,ben,1,images/b1.png,0,III,test
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "manifest.csv"
    path.parent.mkdir()
    path.write_text(TABLE, encoding="utf-8")
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_slices_become_bags_of_patients(manifest: Path) -> None:
    out = manifest.parent / "bags.csv"
    made = write_grouped(manifest, out, Grouping(order="slice", label="grade"))
    assert (made.rows, made.sizes, made.left_out) == (2, (1, 2), ["slice", "label"])
    assert rows(out) == [
        {
            "site": "north",
            "patient": "ann",
            "split": "train",
            "label": "II",
            "image": "images/a9.png|images/a10.png",
        },
        {"site": "south", "patient": "ben", "split": "test", "label": "III", "image": "images/b1.png"},
    ]
    assert out.stat().st_mode & 0o077 == 0


def test_files_are_found_from_where_the_new_manifest_lies(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere.csv"
    write_grouped(manifest, out, Grouping())
    assert rows(out)[0]["image"] == "data/images/a10.png|data/images/a9.png"
    assert rows(out)[0].keys() == {"site", "patient", "grade", "split", "image"}


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        (Grouping(by="patiend"), "has no column 'patiend'; did you mean 'patient'"),
        (Grouping(label="label"), "has several values of 'label' for one patient"),
        (Grouping(order="image"), "has no number in 'image'"),
        (Grouping(joined=["slide"]), "has no column 'slide'"),
    ],
)
def test_what_can_not_be_grouped_is_refused(manifest: Path, how: Grouping, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        write_grouped(manifest, manifest.parent / "bags.csv", how)
    assert not (manifest.parent / "bags.csv").exists()


@pytest.mark.parametrize("odd", ["1_0", "nan", "inf", "1e999", "१", "2,5"])
def test_what_python_alone_takes_for_a_number_orders_nothing(manifest: Path, odd: str) -> None:
    manifest.write_text(TABLE.replace(",10,", f',"{odd}",'), encoding="utf-8")
    with pytest.raises(DataError, match=f"'{odd}' is not a number"):
        write_grouped(manifest, manifest.parent / "bags.csv", Grouping(order="slice"))


def test_nothing_is_overwritten(manifest: Path) -> None:
    with pytest.raises(DataError, match="is there already"):
        write_grouped(manifest, manifest, Grouping())
