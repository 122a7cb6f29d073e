"""`wardround report`, `show`, `compare` and `runs`, as a user types them."""

import csv
import json
from pathlib import Path

import pytest

from tests.cli import wardround
from tests.jobs import make_job
from tests.server.report.runs import write_run

SITES = ["alpha", "beta"]


@pytest.fixture
def folder(tmp_path: Path, tiny_job) -> Path:
    """Return a folder with two runs below `runs`."""
    for number, rate in ((1, 0.01), (2, 0.02)):
        job = tiny_job(training_learning_rate=rate)
        write_run(
            tmp_path / "runs", job, SITES, 3, f"run-{number}", started=f"2026-11-2{number}T10:00:00+00:00"
        )
    return tmp_path


def test_a_run_is_found_by_its_name(folder: Path) -> None:
    ended = wardround("report", "run-1", cwd=folder)
    assert ended.stdout.strip() == "runs/run-1/report.html"
    assert (folder / "runs/run-1/report.html").exists()


def test_the_same_as_json_csv_and_card(folder: Path) -> None:
    ended = wardround("report", "run-1", "--csv", "t", "--card", "README.md", cwd=folder)
    assert ended.returncode == 0
    printed = wardround("report", "run-1", "--json", cwd=folder)
    assert json.loads(printed.stdout)["report"]["title"] == "run-1"
    assert not (folder / "runs/run-1/report.html").exists()
    with (folder / "t" / "learning-rounds-dice-global.csv").open(newline="") as file:
        assert [row["round"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    card = (folder / "README.md").read_text()
    front = card.split("---")[1]
    assert "pipeline_tag: image-segmentation" in front
    about = json.loads((folder / "runs/run-1/run.json").read_text())
    assert str(about["test"]["federation"]["dice_global"]) in front
    for part in ("## Model Facts", "## What was promised to patients", "## How to repeat it"):
        assert part in card


def test_what_others_wrote_is_no_markup_of_a_card(tmp_path: Path, tiny_job) -> None:
    bad = "<script>x</script> [a](http://b) | c"
    run = write_run(tmp_path, tiny_job(), ["alpha"], 1, warnings=[bad])
    wardround("report", run, "--card", tmp_path / "card.md")
    card = (tmp_path / "card.md").read_text()
    assert "<script>" not in card
    assert "[a](" not in card


def test_two_runs_stand_side_by_side(folder: Path) -> None:
    ended = wardround("report", "run-1", "run-2", cwd=folder)
    assert ended.stdout.strip() == "comparison.html"
    ended = wardround("compare", "run-1", "run-2", cwd=folder, environment={"COLUMNS": "80"})
    assert ended.returncode == 0
    assert "run-2 minus run-1" in ended.stdout
    assert "single patients are not known" in ended.stdout
    assert "learning rate 0.02" in ended.stdout
    assert "…" not in ended.stdout


def test_runs_that_other_hospitals_trained_are_not_alike(tmp_path: Path) -> None:
    job, sites = make_job(job_rounds=1), ["alpha", "beta"]
    first = write_run(tmp_path, job, sites, 1)
    second = write_run(tmp_path, job, sites, 1, "run-2", only_judging={"beta": "held out"})
    assert "warning  other hospitals trained in the runs" in (
        said := wardround("compare", first, second).stdout
    )
    assert "(run-2: without beta)" in said
    assert "other hospitals" not in wardround("compare", first, first).stdout


def test_figures_of_two_tasks_are_not_compared(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, make_job(task_name=name, job_rounds=1), ["alpha"], 1)
        for name in ("segmentation", "classification")
    ]
    said = wardround("compare", *runs).stdout
    assert "warning  the runs are of different tasks" in said
    assert "Nothing can be said: the runs are of different tasks." in said
    assert "minus" not in said


@pytest.mark.parametrize("command", [("show", "run-1"), ("compare", "run-1", "run-2")])
def test_scripts_get_what_is_shown_as_one_object(folder: Path, command: tuple[str, ...]) -> None:
    ended = wardround(*command, "--json", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["command"] == command[0]
    assert json.loads(ended.stdout)["report"]["sections"]


def test_runs_that_differ_in_the_seed_have_a_mean(tmp_path: Path, tiny_job) -> None:
    runs = [write_run(tmp_path, tiny_job(job_seed=seed), SITES, 1, f"seed-{seed}") for seed in (1, 2, 3)]
    for run, value in zip(runs, (0.2, 0.3, 0.7), strict=True):
        about = json.loads((run / "run.json").read_text())
        about["test"]["federation"]["dice_global"] = value
        (run / "run.json").write_text(json.dumps(about))
    wardround("report", *runs, "--csv", tmp_path / "csv")
    with (tmp_path / "csv" / "seeds-seeds.csv").open(newline="") as file:
        rows = {row["metric"]: row for row in csv.DictReader(file)}
    row = rows["Dice (all voxels)"]
    assert float(row["mean"]) == pytest.approx(0.4)
    assert float(row["standard deviation"]) == pytest.approx(0.26457513)
    assert (float(row["lowest"]), float(row["highest"])) == (0.2, 0.7)


def test_what_attacks_found_stands_beside_what_was_promised(folder: Path) -> None:
    leak = {"auc": 0.625, "auc_interval": [0.5, 0.75], "tpr": 0.125, "epsilon": 0.5}
    audit = {"site": "alpha", "members": 40, "others": 20, "leaks": {"loss threshold": leak}}
    (folder / "runs/run-1/audit-alpha.json").write_text(json.dumps(audit))
    (folder / "runs/run-1/audit-broken.json").write_text("{")
    wardround("report", "run-1", "--csv", "t", cwd=folder)
    table = (folder / "t" / "promises-audit-alpha.csv").read_text().splitlines()
    assert table[1] == "loss threshold,0.625,0.5,0.75,0.125,0.5"
    assert not (folder / "t" / "promises-audit-broken.csv").exists()


def test_a_run_is_shown_again(folder: Path) -> None:
    ended = wardround("show", "run-1", cwd=folder, environment={"COLUMNS": "80"})
    assert ended.returncode == 0
    assert "federation" in ended.stdout
    assert "Training loss" in ended.stdout


@pytest.mark.parametrize("width", [40, 80, 120])
def test_who_is_not_logged_in_sees_the_runs_of_this_machine(folder: Path, width: int) -> None:
    environment = {"XDG_CONFIG_HOME": str(folder / "nobody"), "COLUMNS": str(width)}
    ended = wardround("runs", cwd=folder, environment=environment)
    assert ended.stdout.index("run-2") < ended.stdout.index("run-1")  # the newest first
    assert "3/3" in ended.stdout
    other = wardround("runs", "--local", folder / "runs", environment={"COLUMNS": str(width)})
    assert other.stdout == ended.stdout


def test_an_unreadable_run_is_listed_with_its_reason(folder: Path) -> None:
    (folder / "runs/run-1/job.json").write_text("{}")
    ended = wardround("runs", "--local", "runs", cwd=folder)
    assert "unreadable" in ended.stdout


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    ended = wardround("runs", "--local", "nothing", cwd=tmp_path)
    assert ended.returncode == 2
    assert "is not a folder of runs" in ended.stderr


def test_the_worst_hospital_and_the_range_are_said(tmp_path: Path, tiny_job) -> None:
    run = write_run(tmp_path, tiny_job(), ["alpha", "beta", "gamma"], 1)
    about = json.loads((run / "run.json").read_text())
    for site, dice, loss in (("alpha", 0.8, 0.2), ("beta", 0.5, 0.9), ("gamma", 0.9, 0.1)):
        about["test"]["sites"][site] |= {"dice_global": dice, "loss": loss}
    (run / "run.json").write_text(json.dumps(about))
    wardround("report", run, "--csv", tmp_path / "csv")
    with (tmp_path / "csv" / "results-between-sites.csv").open(newline="") as file:
        rows = {row[0]: row for row in csv.reader(file)}
    dice = rows["Dice (all voxels)"]
    assert (dice[1], float(dice[2])) == ("beta", 0.5)
    assert (dice[5], float(dice[6])) == ("gamma", 0.9)
    assert float(dice[9]) == pytest.approx(0.4)
    assert "Between the hospitals" in wardround("show", run).stdout
