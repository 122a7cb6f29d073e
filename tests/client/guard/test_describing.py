"""What a site tells of its data where a job has them described: the same figures, whatever else is asked."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data.manifest.splits import CohortKey, Split, SplitTable
from client.data.samples.site_data import SiteData
from client.guard.approval_text import ApprovalText
from client.guard.bounds import Bounds
from client.guard.looks import looks_before, preparation
from client.guard.release import Release
from client.guard.request_rules import check_request
from client.guard.statistics import part_of
from client.settings.policy import PolicyError, PolicyTable, check_job
from shared.describing_job import describing_job
from shared.job.schema import JobSpec
from shared.tasks import make_task
from shared.wire import messages
from tests.jobs import make_job, marks_job

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


WINDOWS = 'approval = "automatic"\nmax_described = 2\n'


def windowed(top: float, **options: Any) -> JobSpec:
    return describing_job(marks_job(data_intensity="window", data_window=[0.0, top], **options))


def summed(site: Any, job: JobSpec) -> str:
    """Ask for the sums before round 1; returns the refusal, or nothing."""
    reply = site.ask(f"query.{messages.STATISTICS}", messages.describe_request(job.canonical()))
    return reply.error.reason if reply.has_error() else ""


def test_without_a_person_rows_are_read_in_few_ways_over_all_jobs(make_site: Any) -> None:
    """A site fails where a row has another class: with many jobs each class that occurs can be found."""
    site = make_site('approval = "automatic"\nmax_readings = 2\n', opened=False)
    jobs = [marks_job(task_classes=["no", "yes", *more]) for more in ((), ("a",), ("b",), ("c",))]
    said = [described(site, job) for job in jobs]
    assert said[:2] == ["", ""]
    assert all("policy.max_readings: rows of these patients were read in 2 ways" in no for no in said[2:])
    site.restart()
    assert described(site, marks_job(job_name="ward-2", training_learning_rate=0.5)) == ""  # no further way
    site.approve(jobs[2])
    assert [described(site, job)[:19] for job in jobs[2:]] == ["", "policy.max_readings"]


def described(site: Any, job: JobSpec) -> str:
    """Ask what a site has for a job; returns the refusal without the site's name, or nothing."""
    reply = site.ask("query.describe", messages.describe_request(job.canonical()))
    return reply.error.reason.partition(": ")[2] if reply.has_error() else ""


def test_without_a_person_images_are_described_in_few_ways_over_all_jobs(make_site: Any) -> None:
    """Each window has noise of its own: with a hundred of them one image can be told dark or bright."""
    site = make_site(WINDOWS, opened=False)
    jobs = [windowed(top) for top in (200.0, 200.5, 201.0, 201.5)]
    said = [summed(site, job) for job in jobs]
    assert said[:2] == ["", ""]
    assert all("policy.max_described: images of these patients were described as 2" in no for no in said[2:])
    site.restart()
    assert summed(site, windowed(200.0, job_name="ward-2", job_seed=7)) == ""  # no further way
    site.approve(jobs[2])
    assert summed(site, jobs[2]) == ""
    assert "max_described" in summed(site, jobs[3])
    assert looks_before(site.book.served, site.site.config, jobs[3]) == 3
    site.approve(jobs[3])
    text = ApprovalText.of(site.book.find(jobs[3].digest()), site.site.config, 0, "", 3)
    assert text.unusual[0].startswith("Sums of this dataset's images were told before, prepared in 3 ways")


def test_voxels_of_classes_that_a_training_asks_for_count_as_ways_too() -> None:
    asks = {"task_name": "segmentation", "task_loss": "dice-ce", "task_class_weights": "federation"}
    sizes = [make_job(**asks, data_size=[size, 32]) for size in (32, 48, 48)]
    found = [preparation(job) for job in sizes]
    assert None not in found
    assert len(set(found)) == 2
    assert preparation(make_job(task_name="segmentation")) is None  # asks for no sums
    assert preparation(marks_job(task_class_weights="federation")) is None  # images, whatever their size
    assert preparation(job_of(["age"])) is None  # columns alone
