"""A heap of DICOM becomes a dataset: what a hospital sees of it."""

import csv
import io
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from client.data.manifest.rows import scan_manifest
from client.data.manifest.splits import CohortKey, Split
from tests.cli import wardround
from tests.client.data.formats.dicom_files import written
from tests.client.dicom_import.heaps import RULES, SAGITTAL, write_heap, write_key, write_series


def imported(place: Path, *sources: object, rules: str | None = RULES, options: tuple = (), code: int = 0):
    if rules is not None:
        (place / "rules.toml").write_text(rules)
        options = (*options, "--rules", place / "rules.toml")
    ended = wardround("data", "import", *sources, "--out", place / "ds", *options, "--json")
    assert ended.returncode == code, ended.stderr
    return json.loads(ended.stdout) if code == 0 else ended.stderr


def rows(place: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((place / "ds" / "manifest.csv").read_text())))


def state(folder: Path) -> dict[str, tuple]:
    """What a folder holds, down to the time at which each file was written; link to where."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.is_symlink() and path.readlink())
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def heap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heap") / "export"
    write_heap(folder)
    return folder


def test_a_heap_becomes_a_dataset_that_can_be_trained_on(heap: Path, tmp_path: Path) -> None:
    before = state(heap)
    write_key(tmp_path)
    answer = imported(tmp_path, heap)
    assert answer["used"] == {"rows": 4, "series": 8, "files": 28, "patients": 4}
    assert answer["skipped"] == {"row": {}, "series": {"fits no rule": 4}, "file": {"is not DICOM": 1}}
    assert list(rows(tmp_path)[0]) == ["patient", "flair", "t1", "study"]
    for row in rows(tmp_path):
        for column, slices in (("flair", 3), ("t1", 4)):
            assert len(list((tmp_path / "ds" / row[column]).iterdir())) == slices
    assert state(heap) == before
    checked = wardround("data", "check", tmp_path / "ds", "--image=flair", "--json")
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["images"] == 4


def test_nothing_in_the_dataset_names_a_patient(heap: Path, tmp_path: Path) -> None:
    accessions = [f"ACC{number}" for number in range(101, 105)]
    imported(tmp_path, heap, rules=RULES.replace("rows", 'keep = ["StudyDate"]\nrows', 1))
    text = (tmp_path / "ds" / "manifest.csv").read_text() + " ".join(state(tmp_path / "ds"))
    for secret in ("HOSP", *accessions, "1.2.10", "20200310", "2020-03-10"):
        assert secret not in text
    who = (tmp_path / "ds.import" / "pseudonyms.csv").read_text()
    for patient in ("HOSP0001,ACC101", *(row["patient"] for row in rows(tmp_path))):
        assert patient in who
    assert (tmp_path / "pseudonym.key").stat().st_mode & 0o777 == 0o600
    for path in (tmp_path / "ds.import", *(tmp_path / "ds.import").iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path


def test_dates_of_a_patient_are_shifted_alike(tmp_path: Path) -> None:
    for study, day in ((1, "20200301"), (2, "20200311"), (3, "20200301")):
        write_series(tmp_path / "in", "a" if study < 3 else "b", study, 1, "flair", StudyDate=day)
    imported(tmp_path, tmp_path / "in", rules='keep = ["StudyDate", "Modality"]', code=2)
    imported(tmp_path, tmp_path / "in", rules='keep = ["StudyDate"]')
    days = {row["study"]: np.datetime64(row["StudyDate"]) for row in rows(tmp_path)}
    of_a = [
        days[row["study"]]
        for row in rows(tmp_path)
        if [r["patient"] for r in rows(tmp_path)].count(row["patient"]) == 2
    ]
    assert abs(of_a[0] - of_a[1]) == np.timedelta64(10, "D")
    assert all(day < np.datetime64("2020-03-11") for day in of_a)
    assert len(set(days.values())) == 3  # the other patient has another shift


def test_what_is_left_out_is_counted_with_its_reason(tmp_path: Path) -> None:
    heap = tmp_path / "in"
    write_series(heap, "whole", 1, 1, "flair")
    write_series(heap, "whole", 1, 2, "t1")
    write_series(heap, "without", 2, 1, "flair")
    write_series(heap, "twice", 3, 1, "flair")
    write_series(heap, "twice", 3, 2, "flair again")
    write_series(heap, "twice", 3, 3, "t1")
    write_series(heap, "gap", 4, 1, "flair", slices=5)[2].unlink()
    write_series(heap, "gap", 4, 2, "t1")
    write_series(heap, "sagittal", 5, 1, "flair", ways=SAGITTAL)
    write_series(heap, "sagittal", 5, 2, "t1")
    write_series(heap, "born", 6, 1, "flair")
    write_series(heap, "born", 6, 2, "t1", PatientBirthDate="19510101")
    cut = write_series(heap, "cut", 7, 1, "flair")[0]
    cut.write_bytes(cut.read_bytes()[:-40])
    (heap / "1-1-1-copy").write_bytes((heap / "1-1-1").read_bytes())
    answer = imported(tmp_path, heap)
    assert answer["used"] == {"rows": 1, "series": 2, "files": 6, "patients": 1}
    left_out = {"lacks 'flair'": 3, "lacks 't1'": 1, "has several series for 'flair'": 1}
    assert answer["skipped"]["row"] == left_out
    assert answer["skipped"]["file"] == {"a copy of an image that is there already": 1}
    series = answer["skipped"]["series"]
    assert series["its PatientID has several dates of birth"] == 2
    assert series["fits no rule"] == 1
    assert series["holds a file that was cut short"] == 1
    assert sum(series.values()) + 2 == 13
    told = list(csv.reader(io.StringIO((tmp_path / "ds.import" / "skipped.csv").read_text())))
    assert len(told) == 1 + 5 + 1 + sum(series.values())
    assert any("ACC3" in where for _, _, where in told)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_an_archive_gives_what_its_folder_gives(heap: Path, tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"export.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(heap.iterdir()):
                file.write(path, f"../../{path.name}")
    else:
        with tarfile.open(archive, f"w:{kind[4:]}") as file:
            for path in sorted(heap.iterdir()):
                file.add(path, f"/etc/../../{path.name}")
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(link)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    from_folder = imported(tmp_path / "a", heap)
    from_archive = imported(tmp_path / "b", archive, options=("--key", tmp_path / "a" / "pseudonym.key"))
    assert from_archive["used"] == from_folder["used"]
    assert from_archive["skipped"] == from_folder["skipped"]
    assert rows(tmp_path / "b") == rows(tmp_path / "a")
    for row in rows(tmp_path / "b"):
        for one in (tmp_path / "b" / "ds" / row["t1"]).iterdir():
            assert one.read_bytes() == (tmp_path / "a" / "ds" / row["t1"] / one.name).read_bytes()
            assert not one.is_symlink()


def bomb(path: Path) -> None:
    with tarfile.open(path, "w:gz") as file:
        for number in range(3):
            info = tarfile.TarInfo(str(number))
            info.size = 2**27
            file.addfile(info, io.BytesIO(bytes(2**27)))


def long_record(path: Path) -> None:
    with tarfile.open(path, "w:gz") as file:
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**25
        file.addfile(info, io.BytesIO(b"a" * 2**25))


def encrypted(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", b"a")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("write", "name", "reason"),
    [
        (bomb, "a.tar.gz", "far more than"),
        (long_record, "a.tgz", "a record of a length that none has"),
        (encrypted, "a.zip", "is encrypted"),
        (lambda path: path.write_bytes(b"PK"), "a.zip", "is damaged, or is no archive"),
    ],
)
def test_an_archive_that_can_not_be_read_is_left_out(tmp_path: Path, write, name: str, reason: str) -> None:
    write_series(tmp_path / "in", "p", 1, 1, "flair")
    write(tmp_path / "in" / name)
    answer = imported(tmp_path, tmp_path / "in", rules=None)
    assert answer["used"]["rows"] == 1
    (found,) = answer["skipped"]["file"]
    assert reason in found


def test_new_studies_are_added_and_nobody_changes_sides(heap: Path, tmp_path: Path) -> None:
    imported(tmp_path, heap)
    first = rows(tmp_path)
    write_series(tmp_path / "new", "HOSP0001", 901, 1, "flair")
    write_series(tmp_path / "new", "HOSP0001", 901, 2, "t1")
    write_series(tmp_path / "new", "HOSP0009", 902, 1, "flair")
    write_series(tmp_path / "new", "HOSP0009", 902, 2, "t1")
    assert imported(tmp_path, tmp_path / "new")["used"]["rows"] == 6
    second = rows(tmp_path)
    assert [row for row in second if row in first] == first
    assert len({row["patient"] for row in second}) == 5
    split = Split(CohortKey.drawn(3))
    before, after = (
        dict(zip([record.patient for record in own], split.sides(own), strict=True))
        for own in (scan_manifest(write(tmp_path, one), ["flair"]).records for one in (first, second))
    )
    assert {patient: after[patient] for patient in before} == before


def write(place: Path, own: list[dict[str, str]]) -> Path:
    path = place / "ds" / f"rows-{len(own)}.csv"
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, own[0])
        table.writeheader()
        table.writerows(own)
    return path


def test_another_key_and_a_changed_manifest_are_refused(heap: Path, tmp_path: Path) -> None:
    imported(tmp_path, heap)
    assert "another key" in imported(tmp_path, heap, options=("--key", tmp_path / "other.key"), code=2)
    manifest = tmp_path / "ds" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("study", "visit", 1))
    assert "was changed since" in imported(tmp_path, heap, code=2)
    (tmp_path / "pseudonym.key").chmod(0o644)
    assert "other users may use this key" in imported(tmp_path, heap, code=2)
    assert "nothing is written where the images are" in imported(heap, heap, rules=None, code=2)


def test_a_table_of_the_hospital_stands_beside_the_images(heap: Path, tmp_path: Path) -> None:
    table = "Study No;finding;name\nACC101;tumour;Smith\nACC102;none;Jones\nACC104;tumour;Wu\n"
    (tmp_path / "labels.csv").write_text(table)
    rule = '[table]\nkey = "Study No"\ncolumns = ["finding"]\n'
    answer = imported(tmp_path, heap, rules=RULES + rule, options=("--table", tmp_path / "labels.csv"))
    assert sorted(row["finding"] for row in rows(tmp_path)) == ["none", "tumour", "tumour"]
    assert answer["skipped"]["row"] == {"has no row in the table (accession_number)": 1}
    assert "Smith" not in (tmp_path / "ds" / "manifest.csv").read_text()


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ('[series.flair]\ndescription = ["("]', "not a regular expression"),
        ("[series.patient]", "can't be a column of images"),
        ('keep = ["PatientName"]', "can't be 'PatientName'"),
        ('[series.flair]\nmodalty = "MR"', "modality"),
        ('rows = "study"\n[series.mask]\nof = "flair"', "there is no other rule 'flair'"),
        ('[table]\ncolumns = ["patient"]', "column of the import itself"),
    ],
)
def test_rules_that_can_not_be_are_refused(tmp_path: Path, rules: str, said: str) -> None:
    assert said in imported(tmp_path, PROJECT, rules=rules, code=2)


PROJECT = Path(__file__).parents[3]


def kill_at(moment: int) -> None:
    """Kill this process when it touches a file for the `moment`-th time, before it does."""
    left = moment

    def watch(event: str, _: tuple) -> None:
        nonlocal left
        if event in {"open", "os.rename", "os.symlink", "os.mkdir", "os.remove", "os.link", "os.truncate"}:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def attempt(place: Path, sources: list[Path], moment: int) -> None:
    kill_at(moment)
    options = ("--key", place.parent / "pseudonym.key", "--rules", place.parent / "rules.toml", "--copy")
    wardround("data", "import", *sources, "--out", place / "ds", *options, "--processes", "1")


def test_killed_at_any_moment_it_ends_as_if_never_stopped(heap: Path, tmp_path: Path) -> None:
    archive = tmp_path / "more.tar.gz"
    write_series(tmp_path / "more", "HOSP0077", 77, 1, "flair")
    write_series(tmp_path / "more", "HOSP0077", 77, 2, "t1")
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "more", "more")
    sources = [heap, archive]
    answer = imported(tmp_path, *sources, options=("--copy",))
    whole = tmp_path / "ds"
    context = multiprocessing.get_context("fork")
    kills, step = 0, 29
    place = tmp_path / "again"
    place.mkdir()
    for moment in range(step, 10_000, step):
        process = context.Process(target=attempt, args=(place, sources, moment))
        process.start()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        if process.exitcode == 0:
            break
    assert kills >= 3
    assert contents(place / "ds") == contents(whole)
    report = json.loads((place / "ds.import" / "report.json").read_text())
    assert report["used"] == answer["used"]
    assert report["skipped"] == answer["skipped"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_ids_that_differ_in_how_they_are_written_are_counted(tmp_path: Path) -> None:
    for study, patient in enumerate(("0071", "71", "A-1", "a-1", "B"), start=1):
        write_series(tmp_path / "in", patient, study, 1, "flair")
    answer = imported(tmp_path, tmp_path / "in", rules=None)
    assert (answer["used"]["patients"], answer["alike"]) == (5, 2)


def test_a_row_for_each_patient_has_the_series_that_the_rules_say(tmp_path: Path) -> None:
    for study, day in ((1, "20200101"), (2, "20210101")):
        write_series(tmp_path / "in", "a", study, 1, "flair", StudyDate=day, PatientAge="093Y")
    write_series(tmp_path / "in", "a", 3, 2, "t1", slices=4, PatientAge="093Y")
    write_series(tmp_path / "in", "b", 4, 1, "flair", PatientAge="018M")
    rules = RULES.replace('"study"', '"patient"\nkeep = ["PatientAge"]')
    imported(tmp_path, tmp_path / "in", rules=rules, code=2)
    assert rows(tmp_path) == []
    imported(tmp_path, tmp_path / "in", rules=rules.replace("[series.t1]", 'several = "last"\n[series.t1]'))
    (row,) = rows(tmp_path)
    assert list(row) == ["patient", "flair", "t1", "PatientAge"]
    assert row["PatientAge"] == "90"
    first = next((tmp_path / "ds" / row["flair"]).iterdir())
    assert pydicom.dcmread(first).StudyDate == "20210101"


def test_an_export_that_was_repeated_elsewhere_takes_the_place_of_the_first(
    heap: Path, tmp_path: Path
) -> None:
    shutil.copytree(heap, tmp_path / "first")
    imported(tmp_path, tmp_path / "first")
    before = rows(tmp_path)
    shutil.copytree(heap, tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    imported(tmp_path, tmp_path / "second")
    assert rows(tmp_path) == before
    assert all(path.is_file() for path in (tmp_path / "ds").rglob("*.dcm"))


def test_each_picture_of_a_series_may_be_a_row(tmp_path: Path) -> None:
    write_key(tmp_path)
    for number in range(2):  # two views, which are no volume
        written(
            tmp_path / "in" / str(number),
            np.full((8, 8), number, np.int16),
            Modality="DX",
            StudyInstanceUID="1.2.9",
            SeriesInstanceUID="1.2.9.1",
        )
    assert imported(tmp_path, tmp_path / "in", rules=None, code=2) == ""
    answer = imported(tmp_path, tmp_path / "in", rules='rows = "image"\n[series.chest]\nmodality = "DX"')
    assert answer["used"] == {"rows": 2, "series": 2, "files": 2, "patients": 1}
    assert {row["series"] for row in rows(tmp_path)} == {"chest"}
    assert len({(tmp_path / "ds" / row["image"]).read_bytes() for row in rows(tmp_path)}) == 2
    assert wardround("data", "check", tmp_path / "ds").returncode == 0


def test_links_and_copies_take_each_others_place(heap: Path, tmp_path: Path) -> None:
    imported(tmp_path, heap)
    linked = contents(tmp_path / "ds")
    assert all(path.is_symlink() for path in (tmp_path / "ds").rglob("*.dcm"))
    imported(tmp_path, heap, options=("--copy",))
    assert contents(tmp_path / "ds") == linked
    copies = [path for path in (tmp_path / "ds").rglob("*.dcm") if not path.is_symlink()]
    assert len(copies) == 28
    assert {path.stat().st_mode & 0o777 for path in copies} == {0o600}


def test_a_mask_is_that_of_its_series(tmp_path: Path) -> None:
    heap = tmp_path / "in"
    for study in (1, 2):
        slices = write_series(heap, f"p{study}", study, 1, "flair")
        source = pydicom.dcmread(slices[0])
        mask = write_series(heap, f"p{study}", study, 5, "tumour", slices=1, Modality="SEG")[0]
        file = pydicom.dcmread(mask)
        reference = pydicom.Dataset()
        reference.SeriesInstanceUID = source.SeriesInstanceUID if study == 1 else "1.2.3.4"
        file.ReferencedSeriesSequence = [reference]
        file.save_as(mask)
    rules = 'rows = "study"\n[series.mask]\nmodality = "SEG"\nof = "image"\n[series.image]\nmodality = "MR"'
    answer = imported(tmp_path, heap, rules=rules)
    assert answer["used"]["rows"] == 1
    assert answer["skipped"]["row"] == {"lacks 'mask'": 1}
    (row,) = rows(tmp_path)
    assert row["mask"].endswith(".dcm")
