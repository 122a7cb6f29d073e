"""What `wardround data check` finds."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from client.cli.data import data_app
from client.data.check.dataset_check import Report, check_dataset
from client.data.check.expected import Expected
from client.data.check.identifying_headers import identifying_fields
from client.data.manifest.splits import CohortKey, Split
from shared.errors import DataError, JobError
from tests.client.data.manifests import rewrite
from tests.jobs import job_text

SPLIT = Split(CohortKey.drawn(0))

SEGMENT = Expected("segmentation", ("tumour",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty patients with an image and a mask each, at two sites."""
    rows = ["patient,image,mask,label,site,split"]
    for number in range(30):
        noise = np.random.default_rng(number).integers(0, 255, (8, 12), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        mask = np.zeros((8, 12), np.uint8)
        mask[0, : number % 3] = 255
        Image.fromarray(mask).save(tmp_path / f"m{number}.png")
        split = ("train", "train", "train", "val", "test")[number % 5]
        site = "north" if number < 20 else "south"
        rows.append(f"p{number},{number}.png,m{number}.png,{'yes' if number % 2 else 'no'},{site},{split}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    return tmp_path


def said(report: Report, *parts: str) -> bool:
    """Whether one error holds all the parts."""
    return any(all(part in str(error) for part in parts) for error in report.errors)


def doubted(report: Report) -> list[str]:
    """Return the warnings but for those of the test, which is small and has empty masks."""
    return [line for line in report.warnings if "the test has" not in line and "in the test" not in line]


def test_counts(folder: Path) -> None:
    report = check_dataset(folder, split=SPLIT)
    assert report.trainable
    assert not doubted(report)
    assert (report.images, report.patients) == (30, 30)
    assert report.sites == {
        "north": {"train": (12, 12), "val": (4, 4), "test": (4, 4)},
        "south": {"train": (6, 6), "val": (2, 2), "test": (2, 2)},
    }
    assert report.labels["yes"] == {"train": 9, "val": 3, "test": 3}
    assert (report.read_masks, report.empty_masks) == (30, 10)
    assert report.sizes == {"8x12": 30}
    assert report.masks == {"255": 20}
    assert check_dataset(folder, SEGMENT, split=SPLIT).masks == {"tumour": 20}


def test_every_bad_row_is_named(folder: Path) -> None:
    (folder / "3.png").unlink()
    (folder / "4.png").write_bytes(b"\x89PNG\r\n")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "m5.png")
    rewrite(folder, "p6,6.png", "p3,6.png")
    rewrite(folder, "p8,8.png", ",8.png")
    rewrite(folder, "p9,9.png,m9.png", "p9,9.png,m99.png")
    report = check_dataset(folder, SEGMENT, split=SPLIT)
    assert not report.trainable
    assert said(report, "row 5", "3.png", "missing")
    assert said(report, "row 6", "4.png", "can't be read")
    assert said(report, "row 7", "m5.png", "8x8", "8x12")
    assert said(report, "row 8", "p3", "'train'", "'val'")
    assert said(report, "row 10", "the patient is empty")
    assert said(report, "row 11", "m99.png", "missing")


def test_labels_are_held_against_the_classes(folder: Path) -> None:
    rewrite(folder, "m4.png,no", "m4.png,maybe")
    report = check_dataset(folder, Expected("classification", ("no", "yes", "other")), split=SPLIT)
    assert said(report, "row 6", "'maybe'")
    assert doubted(report) == ["no training image of class other"]
    assert report.sizes == {"8x12": 30}  # a wrong label does not keep the image from being read


def test_identical_images(folder: Path) -> None:
    (folder / "3.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "6.png").write_bytes((folder / "5.png").read_bytes())
    leak, double, *_ = doubted(check_dataset(folder, split=SPLIT))
    assert "two sides of the split" in leak
    assert "rows 2 and 5" in leak
    assert "rows 7 and 8" in double


def test_a_channel_of_a_single_value_is_not_an_image_of_one(folder: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    for number in range(30):
        Image.fromarray(np.roll(colours, number, 1)).save(folder / f"{number}.png")
    colours[..., 0] = 7
    Image.fromarray(colours).save(folder / "3.png")
    Image.fromarray(np.full((8, 12, 3), 9, np.uint8)).save(folder / "4.png")
    warnings = check_dataset(folder, split=SPLIT).warnings
    assert "1 image with a channel of a single value: row 5" in warnings
    assert "1 image of a single value: row 6" in warnings


def test_sides_that_are_empty(folder: Path) -> None:
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(text.replace("train", "test"))
    assert said(check_dataset(folder, split=SPLIT), "no image is in 'train'")
    (folder / "manifest.csv").write_text(text.replace("south,train", "south,test").replace("val", "test"))
    assert any(
        "no training data at site south: it only judges" in line
        for line in check_dataset(folder, split=SPLIT).warnings
    )


def test_a_manifest_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no manifest"):
        check_dataset(tmp_path, split=SPLIT)


def test_the_command_prints_plain_lines_in_a_pipe_and_tells_by_its_exit_code(folder: Path) -> None:
    runner = CliRunner()
    good = runner.invoke(data_app, ["check", str(folder), "--task", "segmentation", "--classes", "tumour"])
    assert good.exit_code == 0
    assert "Training is possible." in good.stdout
    assert "\x1b" not in good.stdout
    (folder / "3.png").unlink()
    bad = runner.invoke(data_app, ["check", str(folder)])
    assert bad.exit_code == 2
    assert "row 5" in bad.stdout
    assert "Training is not possible: 1 error." in bad.stdout


def test_a_job_is_what_the_data_are_held_against(folder: Path, quickstart: Path) -> None:
    text = quickstart.read_text().replace("size = [96, 96]", "size = [96, 96]\nchannels = 3")
    (folder / "job.toml").write_text(text)
    answer = CliRunner().invoke(data_app, ["check", str(folder), "--job", str(folder / "job.toml")])
    assert answer.exit_code == 2
    assert "has 1 channel, but the job wants 3" in answer.stdout


def test_the_brain_pack_is_fit_for_training(data_pack: Callable[[str], Path], tmp_path: Path) -> None:
    """Each fifth of its patients."""
    pack = data_pack("brain_lgg_5sites_2d")
    with (pack / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    patients = sorted({row["patient"] for row in rows})[::5]
    rows = [row for row in rows if row["patient"] in patients]
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {key: pack / row[key] for key in ("image", "mask")} for row in rows)
    report = check_dataset(tmp_path, SEGMENT, split=SPLIT)
    assert report.trainable
    assert (report.patients, report.images) == (len(patients), len(rows))
    assert report.empty_masks == len(rows) - report.masks["tumour"]
    assert report.channels == {"3": len(rows)}


def test_a_header_that_cant_be_read_is_not_called_free_of_names(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new("L", (8, 8)).save(path, exif=b"Exif\0\0xxxxxxxx")
    assert identifying_fields(path) == {"a header that can't be read"}


TABLE = """site,patient,split,age,grade,time,event
north,a,train,60,2,1.5,1
north,b,train,,2,2.5,0
south,c,test,71,2,3.5,0
south,d,val,50,,4.5,0
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return the manifest of a table without images."""
    (tmp_path / "manifest.csv").write_text(TABLE)
    return tmp_path


def checked(*arguments: str | Path) -> str:
    result = CliRunner().invoke(data_app, ["check", *(str(argument) for argument in arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_table_without_a_job_is_taken_for_what_it_is(table: Path) -> None:
    output = checked(table)
    assert "4 rows of 4 patients" in output
    assert "image" not in output


def test_a_table_is_held_against_the_columns_of_its_job(table: Path) -> None:
    job = table / "job.toml"
    job.write_text(job_text(task_name="survival"))
    output = checked(table, "--job", job)
    assert "age: 50 to 71, mean 60.33; missing in 1 of 4 rows" in output
    assert "column 'grade' is 2 in all rows that have it" in output
    assert "site south has no event" in output
    assert [line for line in output.splitlines() if line.startswith("north")][-1].endswith(
        "observed (1), censored (1)"
    )


def test_columns_that_a_job_would_name_need_the_job(table: Path) -> None:
    result = CliRunner().invoke(data_app, ["check", str(table), "--task", "survival"])
    assert isinstance(result.exception, JobError)
    assert "Give --job" in str(result.exception)


def test_a_table_has_nothing_to_look_at(table: Path) -> None:
    result = CliRunner().invoke(data_app, ["look", str(table)])
    assert "has no images to look at" in str(result.exception)


@pytest.mark.parametrize(
    ("option", "value"), [("--task", "segmentation"), ("--classes", "a,b"), ("--image", "t1")]
)
def test_what_a_job_says_is_not_said_beside_it(tmp_path, quickstart, option, value):
    result = CliRunner().invoke(data_app, ["check", str(tmp_path), "--job", str(quickstart), option, value])
    assert isinstance(result.exception, JobError)
    assert f"{option}: the job says this" in str(result.exception)
