"""`wardround job new --data`: the job that a dataset asks for."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from client.data.suggested_job import suggested, write_job_of
from shared.errors import DataError, JobError
from shared.job.schema import JobSpec, load_job
from tests.cli import wardround


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a manifest; an image or a mask is given as its values."""
    folder.mkdir(exist_ok=True)
    for number, row in enumerate(rows):
        for column in ("image", "mask"):
            if column in row:
                name = f"{column}-{number}.png"
                Image.fromarray(np.asarray(row[column], np.uint8)).save(folder / name)
                row[column] = name
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


def masked(folder: Path, *values: int, shape: tuple[int, ...] = (40, 60)) -> Path:
    """Write three patients, in whose masks the values are."""
    rows = []
    for patient in ("a", "b", "c"):
        mask = np.zeros(shape[:2], np.uint8)
        for place, value in enumerate(values):
            mask[4 * place : 4 * place + 4, :9] = value
        rows.append({"patient": patient, "image": image(*shape), "mask": mask})
    return write(folder, rows)


def job_of(data: Path, task: str, folder: Path) -> JobSpec:
    return load_job(write_job_of(data, "mine", task, folder / "mine.toml"))


@pytest.mark.parametrize(
    ("values", "classes", "labels"),
    [
        ((1,), ["structure"], None),
        ((255,), ["structure"], None),
        ((7,), ["structure"], {"7": "structure"}),
        ((1, 2, 3), ["class-1", "class-2", "class-3"], None),
        (
            (85, 170, 255),
            ["class-85", "class-170", "class-255"],
            {str(v): f"class-{v}" for v in (85, 170, 255)},
        ),
        ((2, 4), ["class-2", "class-4"], {"2": "class-2", "4": "class-4"}),
    ],
)
def test_classes_of_masks(
    tmp_path: Path, values: tuple[int, ...], classes: list[str], labels: dict[str, str] | None
) -> None:
    job = job_of(masked(tmp_path / "data", *values), "segmentation", tmp_path)
    assert (job.task.classes, job.task.labels) == (classes, labels)


def test_smooth_edges_are_one_structure(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[8:40, 8:40] = 255
    mask[8:40, 40] = np.arange(32) * 7
    rows = [{"patient": name, "image": image(64, 64), "mask": mask.copy()} for name in "abc"]
    job = job_of(write(tmp_path / "smooth", rows), "segmentation", tmp_path)
    assert (job.task.classes, job.task.labels) == (["structure"], None)


def test_names_of_classes_are_those_of_the_folder(tmp_path: Path) -> None:
    data = masked(tmp_path / "data", 1, 4)
    for part in ("image", "mask"):
        (data / {"image": "imagesTr", "mask": "labelsTr"}[part]).mkdir()
    pairs = [{"image": f"image-{number}.png", "label": f"mask-{number}.png"} for number in range(3)]
    labels = {"0": "background", "1": "edema", "4": "core"}
    (data / "dataset.json").write_text(json.dumps({"training": pairs, "labels": labels}))
    job = job_of(data, "segmentation", tmp_path)
    assert (job.task.classes, job.task.labels) == (["edema", "core"], {"1": "edema", "4": "core"})


def test_labels_and_colours(tmp_path: Path) -> None:
    rows = [
        {"patient": patient, "image": image(300, 450, 3), "label": label}
        for patient, label in (("a", "nevus"), ("b", "melanoma"), ("c", "nevus"))
    ]
    job = job_of(write(tmp_path / "data", rows), "classification", tmp_path)
    assert job.task.classes == ["melanoma", "nevus"]
    assert (job.data.size, job.data.channels, job.data.colour) == ([80, 128], 3, None)


def test_several_labels_and_grey_beside_colour(tmp_path: Path) -> None:
    rows = [
        {"patient": "a", "image": image(32, 32), "label": "oedema|mass"},
        {"patient": "b", "image": image(32, 32, 3), "label": ""},
        {"patient": "c", "image": image(32, 32, 3), "label": "mass"},
    ]
    job = job_of(write(tmp_path / "data", rows), "classification", tmp_path)
    assert (job.task.classes, job.task.multi_label) == (["mass", "oedema"], True)
    assert (job.data.colour, job.data.channels) == ("rgb", 3)


def test_what_the_task_learns_from_must_be_there(tmp_path: Path) -> None:
    data = write(tmp_path / "data", [{"patient": name, "image": image(32, 32)} for name in "abc"])
    with pytest.raises(DataError, match="no mask"):
        suggested(data, "segmentation")
    with pytest.raises(DataError, match="no column 'label'"):
        suggested(data, "classification")
    with pytest.raises(DataError, match="no manifest here"):
        suggested(tmp_path, "segmentation")


def test_a_damaged_file_is_named_and_no_job_is_written(tmp_path: Path) -> None:
    data = masked(tmp_path / "data", 1)
    (data / "image-1.png").write_bytes(b"not an image")
    ended = wardround("job", "new", "mine", "--task", "segmentation", "--data", data, cwd=tmp_path)
    assert ended.returncode == 2
    assert "row 3" in ended.stderr
    assert "image-1.png" in ended.stderr
    assert not (tmp_path / "mine.toml").exists()


def test_the_name_is_checked_before_the_data_are_read(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is not a name"):
        write_job_of(tmp_path / "nowhere", "My Job", "segmentation", tmp_path / "job.toml")


def test_a_table_of_which_no_column_tells_anything_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "data", [{"patient": "a", "time": "3", "event": "1", "age": "60", "grade": "2"}])
    with pytest.raises(DataError, match="no column of numbers or of categories"):
        suggested(data, "survival")


def test_survival_has_the_columns_of_the_table(tmp_path: Path) -> None:
    rows = [
        {
            "patient": f"p{number}",
            "site": "north",
            "age": "" if number == 3 else str(40 + number),
            "sex": ("female", "male", "unknown")[number % 3],
            "note": f"free text {number}",
            "same": "1",
            "time": str(number + 1.5),
            "event": str(number % 2),
        }
        for number in range(40)
    ]
    job = job_of(write(tmp_path / "data", rows), "survival", tmp_path)
    assert (job.task.columns, job.task.categories) == (["age", "sex"], {"sex": ["female", "male"]})
    assert 30 < job.task.horizon < 40
    for row in rows:
        row["time"] = row["time"].replace(".", ",")
    with pytest.raises(DataError, match="no event has a time that is a number, such as '1,5'"):
        job_of(write(tmp_path / "german", rows), "survival", tmp_path / "german")


def test_survival_has_no_column_that_names_the_hospital(tmp_path: Path) -> None:
    rows = [
        {
            "patient": f"p{number}",
            "site": f"site-{number % 3}",
            "Tissue Source Site": f"T{number % 3}{number % 2}",
            "fold": str(number % 5),
            "scanner": ("one", "one", "other")[number % 3],
            "age": str(40 + number),
            "time": str(number + 1.5),
            "event": str(number % 2),
        }
        for number in range(40)
    ]
    job = job_of(write(tmp_path / "data", rows), "survival", tmp_path)
    assert (job.task.columns, job.task.categories) == (["age"], {})


def test_a_table_without_images_makes_a_job_of_its_columns(tmp_path: Path) -> None:
    rows = [
        {
            "patient": f"p{number}",
            "site": f"site-{number % 2}",
            "age": "" if number == 3 else str(40 + number),
            "sex": ("female", "male")[number % 2 ^ number // 4 % 2],
            "label": ("benign", "malignant")[number // 3 % 2],
            "volume": str(1.5 * number),
        }
        for number in range(40)
    ]
    data = write(tmp_path / "data", rows)
    job = job_of(data, "classification", tmp_path)
    assert (job.task.classes, job.task.columns) == (["benign", "malignant"], ["age", "sex", "volume"])
    assert not job.task.image
    (tmp_path / "of-numbers").mkdir()
    job = job_of(data, "regression", tmp_path / "of-numbers")
    assert (job.task.targets, job.task.columns) == (["volume"], ["age", "sex"])
    assert job.task.categories == {"sex": ["female", "male"]}


@pytest.mark.parametrize(("column", "options"), [("site", ""), ("ward", " --sites 3 --partition iid")])
def test_what_to_type_next_is_said(tmp_path: Path, column: str, options: str) -> None:
    rows = [{"patient": name, column: "north", "image": image(32, 32), "label": name} for name in "abc"]
    write(tmp_path / "data", rows)
    said = wardround("job", "new", "mine", "--task", "classification", "--data", "data", cwd=tmp_path).stdout
    assert said.splitlines() == ["mine.toml", f"Then: wardround simulate mine.toml --data data{options}"]


def test_survival_without_a_time_says_what_to_call_it(tmp_path: Path) -> None:
    data = write(tmp_path / "data", [{"patient": "a", "days": "3", "event": "1"}])
    with pytest.raises(DataError, match="has no column 'time'") as raised:
        suggested(data, "survival")
    assert "There are: patient, days, event" in str(raised.value)


def test_a_single_table_in_a_folder_may_be_meant(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("patient,age\na,3\n")
    with pytest.raises(DataError, match=r"If 'patients\.csv' is the table"):
        suggested(tmp_path, "survival")
