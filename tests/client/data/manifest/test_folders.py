"""Folders without a manifest, and the one that `wardround data manifest` writes."""

import csv
import json
import stat
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from client.cli.data import data_app
from client.data.check.dataset_check import check_dataset
from client.data.check.expected import Expected
from client.data.manifest.new_manifest import write_manifest
from client.data.manifest.splits import CohortKey, Split
from shared.errors import DataError


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8), np.uint8)).save(path)


def mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(path)


def volume(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(path)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def nnunet(folder: Path, cases: tuple[str, ...] = ("case_1", "case_2"), channels: int = 2) -> None:
    for number, case in enumerate(cases):
        for channel in range(channels):
            noise = np.random.default_rng(number + channel).random((4, 5, 6)).astype(np.float32)
            volume(folder / f"imagesTr/{case}_{channel:04}.nii.gz", noise)
        volume(folder / f"labelsTr/{case}.nii.gz", np.arange(120).reshape(4, 5, 6).astype(np.uint8) % 2 * 3)
    labels = {"background": 0, "edema": 1, "core": 3}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))


def command(*arguments: str) -> Result:
    return CliRunner().invoke(data_app, ["manifest", *arguments])


def test_nnunet(tmp_path: Path) -> None:
    nnunet(tmp_path)
    result = command(str(tmp_path))
    assert result.exit_code == 0, result.output
    assert rows_of(tmp_path) == [
        {
            "patient": f"case_{n}",
            "image_0000": f"imagesTr/case_{n}_0000.nii.gz",
            "image_0001": f"imagesTr/case_{n}_0001.nii.gz",
            "mask": f"labelsTr/case_{n}.nii.gz",
        }
        for n in (1, 2)
    ]
    assert 'images = ["image_0000", "image_0001"]' in result.stdout
    assert 'classes = ["edema", "core"]' in result.stdout
    assert 'labels = { "1" = "edema", "3" = "core" }' in result.stdout
    columns = Expected(images=("image_0000", "image_0001"))
    report = check_dataset(tmp_path, columns, split=Split(CohortKey.drawn(1)))
    assert not [error for error in report.errors if "train" not in str(error)]
    assert report.channels == {"2": 2}


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("imagesTr/case_2_0001.nii.gz", "case_2 have not all channels"),
        ("labelsTr/case_1.nii.gz", "case_1 have no mask"),
        ("imagesTr/case_1_000*.nii.gz", "case_1 are masks without an image"),
    ],
)
def test_what_is_not_whole_is_named_and_nothing_is_written(tmp_path: Path, gone: str, said: str) -> None:
    nnunet(tmp_path)
    for file in tmp_path.glob(gone):
        file.unlink()
    with pytest.raises(DataError, match=said):
        write_manifest(tmp_path, None)
    assert not list(tmp_path.glob("*.csv")) + list(tmp_path.glob(".manifest*"))


def test_decathlon(tmp_path: Path) -> None:
    for number in (3, 7):
        volume(tmp_path / f"imagesTr/la_{number:03}.nii.gz", np.ones((4, 5, 6), np.float32))
        volume(tmp_path / f"labelsTr/la_{number:03}.nii.gz", np.ones((4, 5, 6), np.uint8))
        (tmp_path / f"imagesTr/._la_{number:03}.nii.gz").write_bytes(b"of a Mac")
    pairs = [
        {"image": f"./imagesTr/la_{n}.nii.gz", "label": f"./labelsTr/la_{n}.nii.gz"} for n in ("003", "007")
    ]
    facts = {"labels": {"0": "background", "1": "atrium"}, "training": pairs}
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    written = write_manifest(tmp_path, None)
    assert rows_of(tmp_path)[1] == {
        "patient": "la_007",
        "image": "imagesTr/la_007.nii.gz",
        "mask": "labelsTr/la_007.nii.gz",
    }
    assert written.patients == 2
    assert written.lines == ['classes = ["atrium"]']


@pytest.mark.parametrize("name", ["../secret.nii.gz", "/etc/hostname", "imagesTr/not there.nii.gz"])
def test_a_list_names_files_of_the_folder_alone(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    volume(folder / "labelsTr/a.nii.gz", np.ones((2, 2, 2), np.uint8))
    volume(tmp_path / "secret.nii.gz", np.ones((2, 2, 2), np.uint8))
    pairs = [{"image": name, "label": "labelsTr/a.nii.gz"}]
    (folder / "dataset.json").write_text(json.dumps({"training": pairs}))
    with pytest.raises(DataError, match="not in the folder"):
        write_manifest(folder, None)


def test_images_and_masks_where_one_patient_has_several(tmp_path: Path) -> None:
    for name in ("anna_1", "anna_2", "bert_1"):
        picture(tmp_path / f"images/{name}.png")
        mask(tmp_path / f"masks/{name}_mask.png")
    assert write_manifest(tmp_path, None).patients == 2
    assert [row["patient"] for row in rows_of(tmp_path)] == ["anna", "anna", "bert"]
    assert rows_of(tmp_path)[2]["mask"] == "masks/bert_1_mask.png"


def test_what_a_job_says_stands_under_its_tables(tmp_path: Path) -> None:
    nnunet(tmp_path)
    said = command(str(tmp_path)).output
    assert "  [data]\n  images = [" in said
    assert "  [task]\n  classes = [" in said


@pytest.mark.parametrize("names", [("image", "mask"), ("imgs", "label")])
def test_folders_in_the_singular_and_shortened(tmp_path: Path, names: tuple[str, str]) -> None:
    picture(tmp_path / names[0] / "a.png")
    mask(tmp_path / names[1] / "a.png")
    assert write_manifest(tmp_path, None).kind == f"{names[0]} and {names[1]}"


def test_masks_beside_their_images_in_folders_of_patients(tmp_path: Path) -> None:
    for name in ("TCGA_1/cut_1", "TCGA_1/cut_2", "TCGA_2/cut_1"):
        picture(tmp_path / f"{name}.png")
        mask(tmp_path / f"{name}_mask.png")
    assert (write_manifest(tmp_path, None).rows, len(rows_of(tmp_path)[0])) == (3, 3)
    assert [row["patient"] for row in rows_of(tmp_path)] == ["TCGA_1", "TCGA_1", "TCGA_2"]
    assert rows_of(tmp_path)[1]["mask"] == "TCGA_1/cut_2_mask.png"


def test_masks_beside_their_images_in_folders_of_classes(tmp_path: Path) -> None:
    """A mask is never taken for an image of the class."""
    for name in ("benign/benign (1)", "benign/benign (2)", "malignant/malignant (1)"):
        picture(tmp_path / f"{name}.png")
        mask(tmp_path / f"{name}_mask.png")
    assert (write_manifest(tmp_path, None).patients, len(rows_of(tmp_path))) == (3, 3)
    assert [row["label"] for row in rows_of(tmp_path)] == ["benign", "benign", "malignant"]


def test_one_image_without_a_mask_beside_it_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    mask(tmp_path / "a_mask.png")
    with pytest.raises(DataError, match="b have no mask"):
        write_manifest(tmp_path, None)


def test_names_that_are_a_number_apart_are_not_one_patient(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"images/ISIC_{number:07}.png")
        mask(tmp_path / f"masks/ISIC_{number:07}.png")
    assert write_manifest(tmp_path, None).patients == 3


def test_a_folder_for_each_class_and_in_it_one_for_each_patient(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        for number in range(2):
            picture(tmp_path / f"benign/{patient}/{number}.png", number)
    picture(tmp_path / "malignant/p3/0.jpg")
    written = write_manifest(tmp_path, None)
    assert (written.rows, written.patients) == (5, 3)
    assert rows_of(tmp_path)[0] == {"patient": "p1", "image": "benign/p1/0.png", "label": "benign"}
    assert written.lines == ['classes = ["benign", "malignant"]']


def test_a_folder_for_each_hospital_with_images_and_masks(tmp_path: Path) -> None:
    for name in ("north/images/anna_1", "north/images/anna_2", "south/images/bert_1"):
        picture(tmp_path / f"{name}.png")
        mask(tmp_path / f"{name.replace('images', 'masks')}.png")
    written = write_manifest(tmp_path, None)
    assert written.kind == "images and masks, in a folder for each hospital"
    assert (written.patients, written.lines) == (2, [])
    assert rows_of(tmp_path)[2] == {
        "patient": "bert",
        "site": "south",
        "image": "south/images/bert_1.png",
        "mask": "south/masks/bert_1.png",
    }


def test_a_folder_for_each_hospital_and_in_it_one_for_each_class(tmp_path: Path) -> None:
    """A class that one hospital lacks is no reason to take hospitals for classes."""
    for name in ("north/benign/p1", "north/malignant/p2", "south/benign/p3"):
        picture(tmp_path / f"{name}.png")
    assert write_manifest(tmp_path, None).lines == ['classes = ["benign", "malignant"]']
    assert [(row["site"], row["label"]) for row in rows_of(tmp_path)] == [
        ("north", "benign"),
        ("north", "malignant"),
        ("south", "benign"),
    ]


def test_a_folder_for_each_hospital_as_nnunet_has_it(tmp_path: Path) -> None:
    for hospital in ("north", "south"):
        nnunet(tmp_path / hospital, (f"{hospital}_1", f"{hospital}_2"))
    written = write_manifest(tmp_path, None)
    assert written.kind == "nnU-Net, in a folder for each hospital"
    assert 'classes = ["edema", "core"]' in " ".join(written.lines)
    assert rows_of(tmp_path)[3] == {
        "patient": "south_2",
        "site": "south",
        "image_0000": "south/imagesTr/south_2_0000.nii.gz",
        "image_0001": "south/imagesTr/south_2_0001.nii.gz",
        "mask": "south/labelsTr/south_2.nii.gz",
    }
    (tmp_path / "manifest.csv").unlink()
    other = {"labels": {"background": 0, "core": 1, "edema": 3}}
    (tmp_path / "south/dataset.json").write_text(json.dumps(other))
    with pytest.raises(DataError, match="has other classes of masks in each hospital"):
        write_manifest(tmp_path, None)


@pytest.mark.parametrize(("images", "masks"), [("Images", "Masks"), ("imagesTr", "labelsTr")])
def test_folders_of_images_and_masks_are_no_classes(tmp_path: Path, images: str, masks: str) -> None:
    for hospital in ("Ulm", "Köln Süd"):
        picture(tmp_path / f"{hospital}/{images}/a.png")
        mask(tmp_path / f"{hospital}/{masks}/a.png")
    write_manifest(tmp_path, None)
    assert {(row["site"], row["mask"]) for row in rows_of(tmp_path)} == {
        (hospital, f"{hospital}/{masks}/a.png") for hospital in ("Ulm", "Köln Süd")
    }
    for hospital in ("Ulm", "Köln Süd"):
        (tmp_path / f"{hospital}/{images}").rename(tmp_path / f"{hospital}/pictures")
    (tmp_path / "manifest.csv").unlink()
    with pytest.raises(DataError, match=f"has a folder '{masks}', which is not a class"):
        write_manifest(tmp_path, None)


def test_hospitals_with_different_folders_are_refused(tmp_path: Path) -> None:
    for hospital, images in (("north", "images"), ("south", "imgs")):
        picture(tmp_path / f"{hospital}/{images}/a.png")
        mask(tmp_path / f"{hospital}/masks/a.png")
    with pytest.raises(DataError, match="has not the same in each hospital"):
        write_manifest(tmp_path, None)


@pytest.mark.parametrize("inside", ["{side}/benign/{n}.png", "{side}/images/{n}.png"])
def test_a_folder_for_each_side_of_the_split(tmp_path: Path, inside: str) -> None:
    for number, side in enumerate(("train", "valid", "test")):
        picture(tmp_path / inside.format(side=side, n=f"p{number}"))
        if "images" in inside:
            mask(tmp_path / inside.format(side=side, n=f"p{number}").replace("images", "masks"))
    write_manifest(tmp_path, None)
    rows = {row["patient"]: (row["split"], row.get("label")) for row in rows_of(tmp_path)}
    label = "benign" if "benign" in inside else None
    assert rows == {"p0": ("train", label), "p1": ("val", label), "p2": ("test", label)}


def test_a_pattern_finds_the_patient_or_the_folder_is_refused(tmp_path: Path) -> None:
    for name in ("a-17-left", "a-17-right", "b-9-left"):
        picture(tmp_path / f"sick/{name}.png")
    picture(tmp_path / "well/c-3-left.png")
    with pytest.raises(DataError, match="finds no patient in 'sick/b-9-left"):
        write_manifest(tmp_path, r"-(\d\d)-")
    with pytest.raises(DataError, match="not a regular expression"):
        write_manifest(tmp_path, "(")
    write_manifest(tmp_path, r"-(\d+)-")
    assert [row["patient"] for row in rows_of(tmp_path)] == ["17", "17", "9", "3"]


@pytest.mark.parametrize("kind", ["empty", "flat", "several masks", "mask missing", "two folders"])
def test_what_follows_no_convention_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "flat":
        picture(tmp_path / "a.png")
    if kind in ("several masks", "mask missing", "two folders"):
        picture(tmp_path / "images/a.png")
        picture(tmp_path / "images/b.png")
        mask(tmp_path / "masks/a.png")
    if kind == "several masks":
        mask(tmp_path / "masks/a_mask.png")
        mask(tmp_path / "masks/b.png")
    if kind == "two folders":
        mask(tmp_path / "labels/b.png")
    with pytest.raises(DataError):
        write_manifest(tmp_path, None)
    assert not (tmp_path / "manifest.csv").exists()


def test_a_manifest_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    picture(tmp_path / "a/1.png")
    picture(tmp_path / "b/2.png")
    (tmp_path / "manifest.csv").write_text("mine")
    result = command(str(tmp_path))
    assert result.exit_code != 0
    assert "nothing is overwritten" in str(result.exception)
    assert (tmp_path / "manifest.csv").read_text() == "mine"
    (tmp_path / "manifest.csv").unlink()
    assert command(str(tmp_path)).exit_code == 0
    assert stat.S_IMODE((tmp_path / "manifest.csv").stat().st_mode) == 0o600


def test_kinds_of_images_that_look_like_persons_are_doubted(tmp_path: Path) -> None:
    for name in ("benign_022", "benign_023", "normal_1", "normal_2"):
        picture(tmp_path / "images" / f"{name}.png")
        mask(tmp_path / "masks" / f"{name}.png")
    said = command(str(tmp_path))
    assert "4 images of 2 patients" in said.stdout
    assert "If 'benign' is a kind of images" in said.stdout
    (tmp_path / "manifest.csv").unlink()
    assert "4 images of 4 patients" in command(str(tmp_path), "--patient", "([^/]+)[.]").stdout
