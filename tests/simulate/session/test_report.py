"""A rehearsal ends with its report: of every kind of job, with what only a rehearsal sees."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from server.report.content import Report
from server.report.write import report_on
from simulate.session.session import Hospitals, execute, start
from tests.every_task import write_for_every_task
from tests.jobs import BY_TASK, make_job
from tests.server.report.test_page import Page

FIGURES = {
    "classification": {"roc", "precision-recall", "calibration", "confusion"},
    "segmentation": {"dice-1"},
    "detection": {"froc", "precision-recall"},
    "instances": {"instances"},
    "survival": {"brier", "survival"},
    "generation": set(),
    "restoration": set(),
    "reconstruction": set(),
    "synthesis": set(),
    "registration": set(),
    "regression": {"agreement-1"},
    "vae": set(),
    "vq-vae": set(),
    "diffusion": set(),
    "pretraining": set(),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the manifest of hospitals with enough patients for intervals."""
    return write_for_every_task(tmp_path_factory.mktemp("every") / "data", patients=12)


def run_of(data: Path, out: Path, *, baselines: bool = False, **options: Any) -> Path:
    job = make_job(job_rounds=2, **options)
    run = start(job, Hospitals(data=data), out, "cpu", baselines=baselines)
    execute(run, "in-process", Console(file=io.StringIO(), width=80))
    return run.path


def figures_of(report: Report) -> set[str]:
    return {figure.name for section in report.sections for figure in section.figures}


@pytest.mark.parametrize("task", list(BY_TASK))
def test_every_kind_of_job_ends_with_a_report(data: Path, tmp_path: Path, task: str) -> None:
    run = run_of(data, tmp_path, task_name=task)
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    report = report_on([run])
    assert FIGURES[task] <= figures_of(report)
    assert {"rounds-train-loss"} <= figures_of(report)
    pictures = [picture.name for section in report.sections for picture in section.pictures]
    samples = {name: ["samples"] for name in ("generation", "vae", "vq-vae", "diffusion")}
    drawn = {**samples, "survival": []}.get(task, ["best", "median", "worst"])
    assert pictures == drawn
    assert len(page.all("img")) == len(drawn)
    assert [part.name for part in report_on([run], images=False).sections if part.pictures] == []
    about = json.loads((run / "run.json").read_text())
    assert about["comparison"]["patients"] == 16
    assert set(about["comparison"]["sites"]) == {"alpha", "beta", "gamma", "delta"}


def test_a_task_that_knows_no_truth_shows_its_loss(data: Path, tmp_path: Path) -> None:
    """Images that are noisy everywhere: there is nothing to judge the answers by."""
    noisy = {"task_name": "restoration", "task_degradations": None, "task_learns_from": "noise2void"}
    run = run_of(data, tmp_path, baselines=True, **noisy)
    about = json.loads((run / "run.json").read_text())
    assert set(about["test"]["federation"]) == {"loss"}
    assert "changed by" in (run / "report.html").read_text(encoding="utf-8")


def test_baselines_show_each_model_at_each_hospital(data: Path, tmp_path: Path) -> None:
    run = run_of(data, tmp_path, baselines=True)
    report = report_on([run])
    assert "cross-site" in figures_of(report)
    tables = {table.name: table for section in report.sections for table in section.tables}
    about = json.loads((run / "run.json").read_text())
    row = next(row for row in tables["baselines"].rows if row[0] == "alpha")
    assert row[3] == about["baselines"]["pooled"]["sites"]["alpha"]["dice_global"]


def test_a_private_and_a_secure_job_say_what_they_promise(data: Path, tmp_path: Path) -> None:
    private = {"privacy_mechanism": "dp-sgd", "privacy_epsilon": 8.0, "model_norm": "group"}
    run = run_of(data, tmp_path / "private", task_name="classification", **private)
    said = Page((run / "report.html").read_text(encoding="utf-8")).text
    assert "A SIMULATION CARRIES NO GUARANTEE" in said
    run = run_of(data, tmp_path / "secure", privacy_secure_aggregation=True, strategy_weight="equal")
    said = Page((run / "report.html").read_text(encoding="utf-8")).text
    assert "the coordinator sees only the sum of the updates" in said
    assert json.loads((run / "test.json").read_text())["sites"] == {}


def test_two_runs_are_compared_over_the_same_patients(data: Path, tmp_path: Path) -> None:
    one = run_of(data, tmp_path / "one")
    other = run_of(data, tmp_path / "other", training_learning_rate=1e-9)
    report = report_on([one, one])
    [table] = [table for section in report.sections for table in section.tables if "minus" in table.title]
    assert {row[0]: (row[1].value, row[-1]) for row in table.rows}["Dice (all voxels)"] == (0.0, "not shown")
    report = report_on([one, other])
    [table] = [table for section in report.sections for table in section.tables if "minus" in table.title]
    rows = {row[0]: row for row in table.rows}
    described = [json.loads((run / "run.json").read_text())["test"]["federation"] for run in (one, other)]
    gain = described[1]["dice_global"] - described[0]["dice_global"]
    assert rows["Dice (all voxels)"][1].value == pytest.approx(gain)
    assert rows["Dice (all voxels)"][1].low <= gain <= rows["Dice (all voxels)"][1].high
    assert "Paired" in table.notes[0]


def test_runs_on_other_patients_are_not_paired(data: Path, tmp_path: Path) -> None:
    one = run_of(data, tmp_path / "one")
    other = run_of(write_for_every_task(tmp_path / "data", patients=15), tmp_path / "other")
    report = report_on([one, other])
    said = [text for section in report.sections for text in section.says]
    assert any("not tested on the same patients" in text for text in said)
