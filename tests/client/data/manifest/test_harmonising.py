"""`wardround data harmonise`: the columns of hospitals on the scale that a job states."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data.manifest.harmonising import harmonise
from shared.errors import DataError, JobError
from shared.job.schema import JobSpec
from tests.jobs import make_job

COLUMNS = ["a", "b", "c", "age"]


def job(**options: Any) -> JobSpec:
    scaling = {"a": [0.0, 1.0], "b": [5.0, 2.0], "c": [0.0, 1.0], "age": [60.0, 10.0]}
    tables = {"task_name": "survival", "task_columns": COLUMNS, "task_scaling": scaling}
    return make_job(**tables | options)


def written(path: Path, patients: int = 30, seed: int = 0, **sites: float) -> Path:
    """Write a table of hospitals whose columns lie off by a number each; every patient has two rows."""
    rng, rows = np.random.default_rng(seed), []
    for site, off in sites.items():
        for number in range(patients):
            side = "test" if number % 3 == 0 else "train"
            values = rng.normal(off + 100 * (side == "test"), 1, 4)
            for row in range(2):
                cells = values * [1, 2, 1, 10] + [0, 5, 0, 60] + 0.01 * row
                rows.append([site, f"p{number}", side, "12", "1", *map(repr, cells.tolist())])
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["site", "patient", "split", "time", "event", *COLUMNS], *rows])
    return path


def columns(path: Path, site: str, side: str = "train") -> np.ndarray:
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["site"], row["split"]) == (site, side)]
    return np.array([[float(row[name]) for name in COLUMNS] for row in rows])


def test_hospitals_have_one_mean_and_the_test_no_part_in_it(tmp_path: Path) -> None:
    table = written(tmp_path / "table.csv", north=1.0, south=-1.0)
    before = columns(table, "north").mean(axis=0) - columns(table, "south").mean(axis=0)
    found = harmonise(table, job(), tmp_path / "new.csv")
    after = columns(found.path, "north").mean(axis=0) - columns(found.path, "south").mean(axis=0)
    assert (np.abs(after) < 0.1 * np.abs(before)).all()
    assert found.shifts.sites["north"]["a"][0] == pytest.approx(1.0, abs=0.4)  # a test of 100 has no part
    assert columns(found.path, "north", "test")[:, 0].mean() > 50
    assert found.kept == tmp_path / "new.combat.json"


def test_later_patients_are_moved_as_those_before(tmp_path: Path) -> None:
    table = written(tmp_path / "table.csv", north=1.0)
    first = harmonise(table, job(), tmp_path / "new.csv", columns=["a", "b"])
    assert (columns(table, "north")[:, 2:] == columns(first.path, "north")[:, 2:]).all()  # age, say
    later = written(tmp_path / "later.csv", patients=3, seed=1, north=1.0)
    found = harmonise(later, job(), tmp_path / "moved.csv", columns=["a", "b"], like=first.kept)
    by, times = first.shifts.sites["north"]["b"]
    expected = 5 + 2 * ((columns(later, "north")[:, 1] - 5) / 2 - by) / times
    assert columns(found.path, "north")[:, 1] == pytest.approx(expected)
    assert found.kept == first.kept


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"columns": ["height"]}, "'height' is not a column of numbers"),
        ({"job": job(task_scaling=None)}, "does not state the means"),
        ({"out": "table.csv"}, "is there already"),
        ({"like": "new.combat.json", "columns": ["c"]}, "says nothing of a column of 'north'"),
        ({"like": "table.csv"}, "not one that `data harmonise` wrote"),
        (
            {"like": "new.combat.json", "job": job(task_scaling={name: [1.0, 1.0] for name in COLUMNS})},
            "another mean",
        ),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    table = written(tmp_path / "table.csv", north=1.0)
    harmonise(table, job(), tmp_path / "new.csv", columns=["a", "b"])
    asked = {"columns": ["a", "b"], "job": job(), "out": "other.csv"} | change
    like = tmp_path / asked["like"] if "like" in asked else None
    with pytest.raises((DataError, JobError), match=says):
        harmonise(table, asked["job"], tmp_path / asked["out"], columns=asked["columns"], like=like)
