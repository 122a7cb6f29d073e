"""What a hospital is told about a manifest that can't be used."""

from pathlib import Path

import pytest

from client.data.manifest.rows import Record, label_indices, require, scan_manifest
from shared.errors import DataError


def write(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_become_records(tmp_path: Path) -> None:
    path = write(
        tmp_path, "\ufeffpatient,image,mask,site,age\np1,a.png,m.png,north,61\n\np2,/x/b.png,,south,\n"
    )
    first, second = scan_manifest(tmp_path).records
    assert first.patient == "p1"
    assert first.images == (path.parent / "a.png",)
    assert first.mask == path.parent / "m.png"
    assert (first.site, first.cells["age"], first.row) == ("north", "61", 2)
    assert second.images == (Path("/x/b.png"),)
    assert (second.mask, second.row) == (None, 4)


def test_several_image_columns_are_kept_in_the_jobs_order(tmp_path: Path) -> None:
    write(tmp_path, "patient,t1,flair\np,a.nii,b.nii\n")
    record = scan_manifest(tmp_path, images=["flair", "t1"]).records[0]
    assert [path.name for path in record.images] == ["b.nii", "a.nii"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patient,images\np,a.png\n", "has no column 'image'; did you mean 'images'?"),
        ("patient,image\n", "has no rows"),
        ("patient,image,image\np,a,b\n", "two columns 'image'"),
    ],
)
def test_a_manifest_that_cannot_be_used_says_why(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv") as caught:
        scan_manifest(write(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (",a.png,train", "the patient is empty"),
        ("p,,train", "the image is empty"),
        ("p,a.png,trian", "unknown split 'trian'; did you mean 'train'?"),
        ("p,a.png,", "unknown split ''"),
        ("p,a.png,train,more", "has 4 cells, but the header has 3"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, said: str) -> None:
    found = scan_manifest(write(tmp_path, f"patient,image,split\nq,b.png,train\n{row}\n"))
    assert [record.patient for record in found.records] == ["q"]
    with pytest.raises(DataError, match="row 3") as caught:
        require(found.problems)
    assert said in str(caught.value)


def test_a_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no manifest"):
        scan_manifest(tmp_path)


def test_a_patient_on_two_sides_is_named_once(tmp_path: Path) -> None:
    write(tmp_path, "patient,image,split\np7,a,train\np7,b,test\np7,c,test\np8,d,val\n")
    (problem,) = scan_manifest(tmp_path).problems
    assert "p7" in str(problem)
    assert "row 3" in str(problem)
    assert "row 2" in str(problem)


def test_missing_files_are_named_with_their_row(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    write(tmp_path, "patient,image,mask\np,a.png,m.png\n")
    found = scan_manifest(tmp_path)
    assert not found.missing_files(found.records, lambda record: record.images)
    (problem,) = found.missing_files(found.records, Record.files)
    assert "row 2" in str(problem)
    assert "m.png" in str(problem)


def test_labels(tmp_path: Path) -> None:
    write(tmp_path, "patient,image,label\np,a,mel|nv\nq,b,\n")
    both, none = scan_manifest(tmp_path).records
    assert label_indices(both.label, ["nv", "df", "mel"], multi_label=True) == [2, 0]
    assert label_indices(none.label, ["nv", "mel"], multi_label=True) == []
    for record, problem in ((both, "is not a class"), (none, "the label is empty")):
        with pytest.raises(DataError, match=problem):
            label_indices(record.label, ["nv", "mel"], multi_label=False)
