"""What a site tells of its data where a job has them described: the same figures, whatever else is asked."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data.manifest.splits import CohortKey, Split, SplitTable
from client.data.samples.site_data import SiteData
from client.guard.bounds import Bounds
from client.guard.release import Release
from client.guard.request_rules import check_request
from client.guard.statistics import part_of
from client.settings.policy import PolicyError, PolicyTable, check_job
from shared.describing_job import describing_job
from shared.job.schema import JobSpec
from shared.tasks import make_task
from tests.jobs import make_job

PATIENTS, RARE = 60, 4
COLUMNS = ["age", "grade", "marker"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """Return a table of patients, of whom four have a marker."""
    draw, file = np.random.default_rng(5), tmp_path_factory.mktemp("records") / "manifest.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["patient", *COLUMNS, "time", "event", "split"])
        for number in range(PATIENTS):
            marker = f"{draw.normal():.3f}" if number < RARE else ""
            row = [f"{draw.normal(60, 10):.1f}", draw.integers(1, 4), marker]
            writer.writerow([f"p{number}", *row, f"{draw.gamma(2, 20):.1f}", number % 2, "train"])
        writer.writerow(["v0", 60, 1, "", 10.0, 1, "val"])  # otherwise some of the others would be
    return file


def job_of(columns: list[str], **options: Any) -> JobSpec:
    return describing_job(make_job(task_name="survival", task_columns=columns, **options))


def told(manifest: Path, job: JobSpec, least: int = 10) -> dict[str, list[float]]:
    """Return what leaves of each column."""
    data = SiteData.load(manifest, job, site="a", split=Split(CohortKey.drawn(0), SplitTable()))
    release = Release(True, True, True, True, least, 10 if least > 1 else 1)
    bounds = Bounds(least, lambda digest: int(digest[:12], 16))
    [spec] = job.statistics()
    part = part_of(job, make_task(job), data, release, bounds)
    return dict(zip(spec.of, part["columns"].tolist(), strict=True))


def test_no_group_below_the_threshold_shows_however_often_it_is_asked(manifest: Path) -> None:
    """A hundred jobs with other columns, intervals and names: one answer for each column, none of a few."""
    draw, found = np.random.default_rng(6), dict[str, set[tuple[float, ...]]]()
    for number in range(100):
        columns = list(draw.permutation(COLUMNS)[: draw.integers(1, 4)])
        intervals = sorted(draw.choice(np.arange(5.0, 90.0), 3, replace=False).tolist())
        job = job_of(columns, job_name=f"look-{number}", task_intervals=intervals)
        for name, numbers in told(manifest, job).items():
            found.setdefault(name, set()).add(tuple(numbers))
    assert {name: len(answers) for name, answers in found.items()} == dict.fromkeys(found, 1)
    assert found["marker"] == {(0.0, 0.0, 0.0)}
    [(count, total, _)] = found["age"]
    assert count == PATIENTS
    assert total / count == pytest.approx(60, abs=10)


def test_without_a_threshold_figures_are_exact_and_what_is_missing_is_counted(manifest: Path) -> None:
    with manifest.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    found = told(manifest, job_of(COLUMNS), least=1)
    ages = np.array([row["age"] for row in rows], float)
    assert found["age"] == pytest.approx([PATIENTS, ages.sum(), (ages**2).sum()], rel=1e-6)
    assert found["marker"][0] == RARE
    assert set(found) == {*COLUMNS, "time", "event"}


@pytest.mark.parametrize(
    ("phase", "round_", "split"), [("train", 1, ""), ("evaluate", 0, "test"), ("secagg-keys", 1, "")]
)
def test_nothing_but_the_sums_is_answered(phase: str, round_: int, split: str) -> None:
    job = job_of(["age"])
    check_request(job, "statistics", 0, "", "a")
    with pytest.raises(PolicyError, match="sums of training patients, and nothing else"):
        check_request(job, phase, round_, split, "a")


def test_patients_on_whom_only_private_jobs_train_are_not_described() -> None:
    job = job_of(["age"])
    check_job(PolicyTable(), job, "a")
    cap = {"discs": {"epsilon": 8.0, "delta": 1e-5}}
    with pytest.raises(PolicyError, match="no differential privacy"):
        check_job(PolicyTable.model_validate({"privacy": cap}), job, "a")
