"""Rows without a label or mask: who takes part, what is counted, what is refused."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from client.data.check.dataset_check import check_dataset
from client.data.check.expected import Expected
from client.data.look.views import view
from client.data.manifest.rows import scan_manifest
from client.data.manifest.splits import CohortKey, Split, SplitTable
from client.data.samples.site_data import SiteData
from shared.errors import DataError
from tests.conftest import write_dataset
from tests.jobs import make_job

SPLIT = Split(CohortKey.drawn(0))
COLUMN = {"classification": "label", "segmentation": "mask"}
both = pytest.mark.parametrize("task", list(COLUMN))
Empty = Callable[[str], Path]


@pytest.fixture
def emptied(tmp_path: Path) -> Empty:
    """Return a function that writes nine patients, of two images each, and leaves half of the cells empty."""

    def write(column: str) -> Path:
        path = write_dataset(tmp_path / "data", ("alpha",), patients=9)
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for number, row in enumerate(rows):
            row[column] = "" if number % 2 else row[column]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def load(path: Path, task: str, split: Split = SPLIT, **options: Any) -> SiteData:
    return SiteData.load(path, make_job(task_name=task, **options), site="alpha", split=split)


@both
def test_they_train_and_judge_nothing(emptied: Empty, task: str) -> None:
    data = load(emptied(COLUMN[task]), task, task_unlabelled={"method": "fixmatch"})
    assert data.examples == {"train": 6, "val": 3, "test": 3}
    assert data.patients == {"train": 3, "val": 3, "test": 3}
    known = data.drawn_as()
    assert known is not None
    assert (known >= 0).tolist() == [True, False] * 3
    targets = data.split("train").batch(range(6))[COLUMN[task]]
    empty = targets[1::2]
    assert (empty == (-1 if task == "classification" else 255)).all()
    assert int(data.class_counts().sum()) == 3 if task == "classification" else 3 * 16 * 16
    assert (data.class_values().sums > 0).sum(axis=0).max() <= 3
    augmented = data.split("train").batch(range(6), augment_seed=1)[COLUMN[task]]
    assert torch.equal(
        (augmented == targets[1].max()).flatten(1).all(1) if task == "segmentation" else augmented == -1,
        known < 0,
    )


@both
def test_or_are_left_out(emptied: Empty, task: str) -> None:
    data = load(emptied(COLUMN[task]), task, task_unlabelled={"method": "leave-out"})
    assert data.examples == {"train": 3, "val": 3, "test": 3}
    assert data.class_counts().sum() == (3 if task == "classification" else 3 * 16 * 16)


@both
def test_a_job_that_says_nothing_of_them_is_told_what_to_say(emptied: Empty, task: str) -> None:
    with pytest.raises(DataError) as refused:
        load(emptied(COLUMN[task]), task)
    assert f"row 3: the {COLUMN[task]} is empty" in str(refused.value)
    assert "[task.unlabelled]" in str(refused.value)


@both
def test_a_site_that_uses_few_labels_uses_those_of_whole_patients(tmp_path: Path, task: str) -> None:
    path = write_dataset(tmp_path / "data", ("alpha",), patients=30)
    kept: list[set[str]] = []
    for share in (0.01, 0.3, 0.7):
        split = Split(CohortKey.drawn(3), SplitTable(labelled=share))
        data = load(path, task, split, task_unlabelled={"method": "mean-teacher"})
        assert data.examples == {"train": 20, "val": 20, "test": 20}
        known = data.drawn_as()
        assert known is not None
        whose = [
            patient for patient, own in zip(data.training_patients, known.tolist(), strict=True) if own >= 0
        ]
        assert len(whose) == 2 * len(set(whose))
        kept.append(set(whose))
    assert [len(own) for own in kept] == [1, 3, 7]
    assert kept[0] < kept[1] < kept[2]
    everybody = load(path, task, Split(CohortKey.drawn(3), SplitTable(labelled=0.3)))
    assert everybody.examples["train"] == 20  # a job that needs every label has it


@both
def test_a_check_counts_them(emptied: Empty, task: str) -> None:
    path = emptied(COLUMN[task])
    job = make_job(task_name=task, task_unlabelled={"method": "fixmatch"})
    report = check_dataset(path, Expected.of(job), split=SPLIT)
    assert report.trainable
    assert report.unlabelled == {"train": 3, "val": 3, "test": 3}
    assert report.sites["alpha"] == {"train": (3, 6), "val": (3, 3), "test": (3, 3)}
    left_out = make_job(task_name=task, task_unlabelled={"method": "leave-out"})
    report = check_dataset(path, Expected.of(left_out), split=SPLIT)
    assert report.trainable
    assert report.sites["alpha"]["train"] == (3, 3)
    plain = check_dataset(path, Expected.of(make_job(task_name=task)), split=SPLIT)
    assert len(plain.errors) == 9
    assert "[task.unlabelled]" in str(plain.errors[0])


def test_a_check_asks_for_one_label_at_least(emptied: Empty) -> None:
    path = emptied("label")
    path.write_text(path.read_text().replace("small", "").replace("large", ""))
    job = make_job(task_name="classification", task_unlabelled={"method": "fixmatch"})
    report = check_dataset(path, Expected.of(job), split=SPLIT)
    assert ["no training row has a label or mask" in str(error) for error in report.errors] == [True]


def test_a_person_who_looks_sees_no_structure_where_nobody_has_drawn_one(emptied: Empty) -> None:
    job = make_job(task_name="segmentation", task_unlabelled={"method": "fixmatch"}, data_augment=["rotate"])
    first, second = scan_manifest(emptied("mask"), may_lack_masks=True).records[:2]
    assert any(drawing.areas is not None for drawing in view(first, job, (), 1).prepared.drawings)
    seen = view(second, job, (), 1)
    for sample in (seen.prepared, seen.augmented):
        assert sample is not None
        assert all(drawing.areas is None for drawing in sample.drawings)
