"""BIDS folders as datasets: what belongs together by its entities, and what is not whole is named."""

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from client.cli.data import data_app
from client.data.check.dataset_check import check_dataset
from client.data.check.expected import Expected
from client.data.manifest.new_manifest import write_manifest
from client.data.manifest.splits import CohortKey, Split
from shared.errors import DataError


def volume(folder: Path, name: str, value: int = 1) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(len(name)).integers(0, 100, (4, 5, 6)).astype(np.int16)
    if name.endswith(("mask.nii.gz", "dseg.nii.gz")):
        array = np.full((4, 5, 6), value, np.int16)
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(path)
    return path


def dataset(folder: Path, suffixes: tuple[str, ...] = ("T1w",)) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "a", "BIDSVersion": "1.10.0"}))
    (folder / "participants.tsv").write_text(
        "participant_id\tage\tgroup\nsub-02\tn/a\tcontrol\nsub-01\t34\tpatient\n"
    )
    for subject in ("01", "02"):
        for suffix in suffixes:
            volume(folder, f"sub-{subject}/anat/sub-{subject}_{suffix}.nii.gz")
        volume(folder, f"derivatives/experts/sub-{subject}/anat/sub-{subject}_desc-tumour_mask.nii.gz")
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_images_masks_and_participants_become_rows_that_train(tmp_path: Path) -> None:
    dataset(tmp_path)
    result = CliRunner().invoke(data_app, ["manifest", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "BIDS: 2 images of 2 patients" in result.stdout
    assert rows_of(tmp_path)[0] == {
        "patient": "sub-01",
        "image": "sub-01/anat/sub-01_T1w.nii.gz",
        "mask": "derivatives/experts/sub-01/anat/sub-01_desc-tumour_mask.nii.gz",
        "age": "34",
        "group": "patient",
    }
    assert rows_of(tmp_path)[1]["age"] == ""
    report = check_dataset(tmp_path, Expected(), split=Split(CohortKey.drawn(1)))
    assert (report.images, report.masks) == (2, {"1": 2})


def test_sessions_and_runs_are_rows_of_one_patient_and_suffixes_are_channels(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-a\n")
    for session in ("1", "2"):
        for name in ("acq-hi_T1w", "FLAIR"):
            entities, _, suffix = name.rpartition("_")
            middle = f"{entities}_" if entities else ""
            volume(tmp_path, f"sub-a/ses-{session}/anat/sub-a_ses-{session}_{middle}run-1_{suffix}.nii.gz")
        volume(tmp_path, f"derivatives/x/sub-a/ses-{session}/anat/sub-a_ses-{session}_space-T1w_dseg.nii.gz")
    (tmp_path / "derivatives/x/dseg.tsv").write_text(
        "index\tname\n0\tbackground\n1\tgrey matter\n3\twhite matter\n"
    )
    written = write_manifest(tmp_path, None)
    rows = rows_of(tmp_path)
    assert (written.rows, written.patients) == (2, 1)
    assert list(rows[0]) == ["patient", "image_FLAIR", "image_acq-hi_T1w", "mask", "session", "run"]
    assert [(row["session"], row["run"]) for row in rows] == [("1", "1"), ("2", "1")]
    assert 'labels = { "1" = "grey matter", "3" = "white matter" }' in written.lines


def test_labels_in_files_of_their_own_are_structures(tmp_path: Path) -> None:
    volume(tmp_path, "sub-1/anat/sub-1_T2w.nii.gz")
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-1\n")
    for label in ("left", "right"):
        volume(tmp_path, f"derivatives/sub-1/anat/sub-1_label-{label}_mask.nii.gz")
    written = write_manifest(tmp_path, None)
    names = [f"derivatives/sub-1/anat/sub-1_label-{label}_mask.nii.gz" for label in ("left", "right")]
    assert rows_of(tmp_path)[0]["mask"] == "|".join(names)
    assert written.lines == ['classes = ["left", "right"]']


def test_of_several_kinds_of_masks_a_person_chooses_and_templates_are_left_out(tmp_path: Path) -> None:
    dataset(tmp_path)
    for subject in ("01", "02"):
        at = f"derivatives/fmriprep/sub-{subject}/anat/sub-{subject}"
        volume(tmp_path, f"{at}_desc-brain_mask.nii.gz")
        volume(tmp_path, f"{at}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz")
    with pytest.raises(DataError, match=r"2 kinds of masks: 'desc-tumour_mask' .*'desc-brain_mask'"):
        write_manifest(tmp_path, None)
    with pytest.raises(DataError, match="no mask with 'desc-liver'"):
        write_manifest(tmp_path, None, "desc-liver")
    write_manifest(tmp_path, None, "desc-brain_mask")
    assert [row["mask"].split("/")[-1] for row in rows_of(tmp_path)] == [
        "sub-01_desc-brain_mask.nii.gz",
        "sub-02_desc-brain_mask.nii.gz",
    ]


def test_without_masks_the_anatomy_is_taken(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text("participant_id\tsite\n01\tnorth\n")
    volume(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    volume(tmp_path, "sub-01/func/sub-01_task-rest_bold.nii.gz")
    write_manifest(tmp_path, None)
    [row] = rows_of(tmp_path)
    assert row == {"patient": "sub-01", "image": "sub-01/anat/sub-01_T1w.nii.gz", "site": "north"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sub-01/anat/sub-01_FLAIR.nii.gz", "sub-02 have not all of FLAIR, T1w"),
        ("sub-03/anat/sub-03_T1w.nii.gz", "sub-03 have no mask"),
        ("derivatives/experts/sub-04/anat/sub-04_desc-tumour_mask.nii.gz", "is a mask of no image"),
        ("sub-01/anat/brain.nii.gz", "not of BIDS"),
        ("sub-01/anat/sub-02_T2w.nii.gz", "not of BIDS"),
    ],
)
def test_what_is_not_whole_is_named_and_nothing_is_written(tmp_path: Path, name: str, said: str) -> None:
    dataset(tmp_path)
    volume(tmp_path, name)
    with pytest.raises(DataError, match=said):
        write_manifest(tmp_path, None)
    assert not (tmp_path / "manifest.csv").exists()


def test_a_link_to_what_was_not_fetched_is_no_missing_image(tmp_path: Path) -> None:
    dataset(tmp_path)
    gone = tmp_path / "sub-02/anat/sub-02_T1w.nii.gz"
    gone.unlink()
    gone.symlink_to("../../.git/annex/objects/abc")
    with pytest.raises(DataError, match=r"link to a file that is not there.*\n.*datalad get"):
        write_manifest(tmp_path, None)


def test_a_table_of_participants_takes_no_column_of_the_manifest(tmp_path: Path) -> None:
    dataset(tmp_path)
    (tmp_path / "participants.tsv").write_text("participant_id\tmask\nsub-01\tyes\n")
    with pytest.raises(DataError, match="column 'mask', which a manifest uses itself"):
        write_manifest(tmp_path, None)
