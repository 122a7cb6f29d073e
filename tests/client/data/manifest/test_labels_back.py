"""Labels that somebody has given, taken into a copy of a manifest."""

import csv
from pathlib import Path

import pytest

from client.data.manifest.labels_back import take_labels
from shared.errors import DataError

MANIFEST = "patient,image,label,mask\na,one/x.png,,\nb,one/y.png,good,y-mask.png\nc,two/z.nii.gz,,\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.csv").write_text(MANIFEST)
    for name in ("one/x.png", "one/y.png", "two/z.nii.gz", "y-mask.png"):
        file = tmp_path / "data" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"")
    return tmp_path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_list_that_was_filled_in(folder: Path) -> None:
    (folder / "list.csv").write_text("rank,image,label\n1,two/z.nii.gz,bad\n2,one/x.png,\n3,one/y.png,good\n")
    before = (folder / "data" / "manifest.csv").read_bytes()
    taken = take_labels(folder / "data", folder / "list.csv", folder / "new.csv")
    assert (taken.labels, taken.same, taken.empty, taken.left) == (1, 1, 1, 1)
    found = rows(folder / "new.csv")
    assert [row["label"] for row in found] == ["", "good", "bad"]
    assert [row["image"] for row in found] == ["data/one/x.png", "data/one/y.png", "data/two/z.nii.gz"]
    assert found[1]["mask"] == "data/y-mask.png"
    assert (folder / "data" / "manifest.csv").read_bytes() == before


def test_a_folder_of_masks_by_the_names_of_images_or_of_their_copies(folder: Path) -> None:
    masks = folder / "monai-label" / "labels" / "final"
    masks.mkdir(parents=True)
    for name in ("x.png", "0007-z.nii.gz"):
        (masks / name).write_bytes(b"")
    taken = take_labels(folder / "data", masks, folder / "data" / "new.csv")
    assert (taken.labels, taken.left) == (2, 0)
    found = [row["mask"] for row in rows(folder / "data" / "new.csv")]
    assert found == [
        "../monai-label/labels/final/x.png",
        "y-mask.png",
        "../monai-label/labels/final/0007-z.nii.gz",
    ]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("image,label\none/y.png,bad\n", "row 3: has the label 'good', and the labels say 'bad'"),
        ("image,label\none/q.png,bad\n", "row 2: the image 'one/q.png' is in no row"),
        ("image,label\none/x.png,bad\none/x.png,good\n", "row 3: 'one/x.png' has two labels"),
        ("file,label\none/x.png,bad\n", "has no column 'image'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(folder: Path, labels: str, said: str) -> None:
    (folder / "list.csv").write_text(labels)
    with pytest.raises(DataError) as refused:
        take_labels(folder / "data", folder / "list.csv", folder / "new.csv")
    assert said in str(refused.value)
    assert not (folder / "new.csv").exists()


def test_nothing_is_overwritten(folder: Path) -> None:
    (folder / "list.csv").write_text("image,label\none/x.png,bad\n")
    with pytest.raises(DataError, match="nothing is overwritten"):
        take_labels(folder / "data", folder / "list.csv", folder / "data" / "manifest.csv")
    assert (folder / "data" / "manifest.csv").read_text() == MANIFEST


def test_masks_of_two_images_of_one_name_are_refused(folder: Path) -> None:
    with (folder / "data" / "manifest.csv").open("a") as file:
        file.write("d,two/x.png,,\n")
    (folder / "masks").mkdir()
    (folder / "masks" / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match="'x' is in 2 rows"):
        take_labels(folder / "data", folder / "masks", folder / "new.csv")
