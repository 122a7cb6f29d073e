"""Which images there are: in a manifest, a file, a folder, or studies as an archive gives them."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from client.data.images.readers import read_image
from client.data.kinds import kinds_of
from client.data.manifest.rows import Manifest
from client.predict.rows import find_rows
from client.predict.unpacked import unpacked
from shared.errors import DataError
from tests.dicom_files import write_ct
from tests.jobs import make_job

VOLUMES = make_job(task_name="segmentation", data={"dimensions": 3, "size": [8, 8, 8]})
SLICES = make_job(task_name="segmentation", data={"dimensions": 2, "size": [8, 8]})


def rows_of(data: Path, job=VOLUMES, staging: Path | None = None) -> Manifest:
    return find_rows(data, job, kinds_of(job), staging)


def volume(seed: int, slices: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 99, (slices, 9, 7))


def names(found: Manifest) -> list[str]:
    return [record.cells["image"] for record in found.records]


def test_a_series_is_an_image_whether_its_folder_is_named_or_one_around_it(tmp_path) -> None:
    write_ct(tmp_path / "a/ct", volume(0), patient="p7")
    for data in (tmp_path, tmp_path / "a", tmp_path / "a/ct"):
        [record] = rows_of(data).records
        assert (record.images, record.patient) == ((tmp_path / "a/ct",), "p7")
    assert len(rows_of(tmp_path, SLICES).records) == 4


def test_series_of_a_study_in_one_folder_without_endings_are_told_apart(tmp_path) -> None:
    for number, (series, slices) in enumerate((("one", 4), ("two", 6))):
        for file in write_ct(tmp_path / "in", volume(number, slices), series=series):
            file.rename(tmp_path / "in" / f"IM{number}{file.stem}")
    (tmp_path / "links").mkdir()
    found = rows_of(tmp_path / "in", staging=tmp_path / "links")
    read = [read_image(record.file("image"), 3) for record in found.records]
    assert sorted(picture.shape[2] for picture in read) == [4, 6]
    kinds = kinds_of(VOLUMES)
    assert [kinds["image"].files(record) for record in found.records] == [
        record.images for record in found.records
    ]
    assert len(set(names(found))) == 2
    assert all(name.startswith("in/series 3") for name in names(found))
    assert sorted(path.name[:2] for path in (tmp_path / "in").iterdir()) == ["IM"] * 10  # nothing was written


def test_one_file(tmp_path) -> None:
    np.save(tmp_path / "a.npy", volume(0))
    [file] = write_ct(tmp_path / "ct", volume(1, 1))
    assert names(rows_of(tmp_path / "a.npy")) == ["a.npy"]
    assert rows_of(file, SLICES).records[0].images == (file,)


def test_what_holds_no_image_of_a_study_is_left_out(tmp_path) -> None:
    import pydicom

    write_ct(tmp_path / "in", volume(0))
    [other] = write_ct(tmp_path / "in" / "more", volume(1, 1), series="drawn")
    item = pydicom.dcmread(other)
    item.Modality = "SEG"
    item.save_as(other)
    assert names(rows_of(tmp_path / "in")) == ["in"]


def test_nothing_there(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"neither a manifest\.csv nor an image"):
        rows_of(tmp_path)


def test_an_archive_holds_studies_and_no_path_of_it_is_one(tmp_path) -> None:
    for number, series in enumerate(("one", "two")):
        write_ct(tmp_path / f"in/{series}", volume(number), series=series)
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for file in sorted(tmp_path.glob("in/*/*.dcm")):
            archive.write(file, f"../../{file.parent.name}-{file.name}")
        archive.writestr("..\\readme.txt", "no image")
    (tmp_path / "staging").mkdir()
    folder = unpacked(tmp_path / "study.zip", tmp_path / "staging")
    assert folder.parent == tmp_path / "staging"
    found = rows_of(folder, staging=tmp_path / "staging")
    assert sorted(read_image(record.file("image"), 3).shape for record in found.records) == [(7, 9, 4)] * 2
    assert unpacked(tmp_path / "in", tmp_path / "staging") == tmp_path / "in"


def test_a_damaged_archive_is_named(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.dcm", bytes(1000))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[100] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip: is damaged"):
        unpacked(tmp_path / "a.zip", tmp_path)
