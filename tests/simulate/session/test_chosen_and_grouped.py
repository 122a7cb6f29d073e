"""A run that chooses an operating point, a temperature and prediction sets, and judges groups of patients."""

import csv
import json
from contextlib import nullcontext

import pytest

from client.export.write import export
from server.rounds.deciding import require_one_model
from shared.errors import JobError
from shared.finished_run import FinishedRun
from shared.judging_job import judging_job
from shared.networks.build import build_model
from shared.strategies.wire import Wire
from tests.cli import wardround
from tests.conftest import write_dataset
from tests.jobs import job_text, make_job

GROUPS = [{"column": "sex", "values": ["F", "M"]}, {"column": "age", "ends": [50.0]}]
ASKED = {"operating_point": "youden", "calibration": "temperature", "coverage": 0.8}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("decided")
    manifest = write_dataset(place / "data", patients=45)
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        number = int(row["patient"].rpartition("-")[2])
        row |= {"sex": "FFM"[number // 3 % 3], "age": str(20 + number)}
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    text = job_text(
        task_name="classification",
        job_rounds=1,
        training_learning_rate=0.05,
        evaluation={"decisions": ASKED, "groups": GROUPS},
    )
    (place / "job.toml").write_text(text)
    said = wardround("simulate", "job.toml", "--data", "data", "--workers", "in-process", cwd=place)
    assert said.returncode == 0, said.stderr
    [run] = (place / "runs").iterdir()
    return run, said.stdout


def test_the_test_counts_exactly_where_validation_has_cut(run):
    path, said = run
    told = json.loads((path / "run.json").read_text())["decisions"]
    test = json.loads((path / "test.json").read_text())
    [edges] = test["edges"]
    assert told["chosen"]["thresholds"]["large"] in edges
    assert told["chosen"]["round"] == 1
    assert set(told["sites"]) == set(test["sites"])
    assert 0 < told["judged"]["at_threshold"]["large"]["sensitivity"]["value"] <= 1
    assert told["judged"]["sets"]["mean_size"] <= 2
    for text in (said, (path / "report.html").read_text()):
        assert "At the operating point" in text
        assert "Prediction sets" in text
        assert "One threshold at all hospitals" in text


def test_groups_add_up_to_the_test_and_stand_beside_it(run):
    path, said = run
    about = json.loads((path / "run.json").read_text())
    told, whole = about["groups"], about["test"]["federation"]
    images = {name: own["images"] for name, own in told["federation"].items()}
    assert images["sex: F"] + images["sex: M"] == images["age: below 50"] + images["age: from 50"] == 120
    assert images["sex: F"] > images["sex: M"] > 0
    parts = [(own["images"], own["metrics"]["accuracy"]) for name, own in told["federation"].items()]
    for pair in (parts[:2], parts[2:]):
        assert sum(n * value for n, value in pair) / 120 == pytest.approx(whole["accuracy"])
    assert set(told["sites"]) == set(about["test"]["sites"])
    assert told["federation"]["sex: F"]["at_threshold"]["large"]["sensitivity"]["low"] >= 0
    for text in (said, (path / "report.html").read_text()):
        assert "By sex" in text
        assert "below 50" in text


def test_what_was_chosen_goes_with_the_model(run, tmp_path):
    path, _ = run
    data = path.parents[1] / "data"
    lines = (data / "manifest.csv").read_text().splitlines()
    (data / "few.csv").write_text("\n".join(lines[:25]) + "\n")
    said = wardround("predict", path, "--data", data / "few.csv", "--out", tmp_path / "out")
    assert said.returncode == 0, said.stderr
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = json.loads((path / "run.json").read_text())["decisions"]["chosen"]
    assert {row["at_operating_point"] for row in rows} <= {"small", "large"}
    above = [float(row["score/large"]) for row in rows if row["at_operating_point"] == "large"]
    below = [float(row["score/large"]) for row in rows if row["at_operating_point"] == "small"]
    assert min(above, default=1) >= max(below, default=0)
    assert all(0 < float(row["calibrated/large"]) < 1 for row in rows)
    assert all(set(row["prediction_set"].split("|")) <= {"small", "large", ""} for row in rows)
    export(FinishedRun.read(path), "best", "safetensors", tmp_path / "model", None)
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    assert about["run"]["decisions"] == chosen
    assert "From scores to decisions" in (tmp_path / "model" / "README.md").read_text()


def test_the_job_that_judges_the_model_later_chooses_nothing(run):
    assert judging_job(FinishedRun.read(run[0]), "later", "best").job.evaluation.decisions is None


def test_models_of_the_sites_own_have_no_threshold_for_all():
    asked = {"evaluation": {"decisions": ASKED}, "task_name": "classification"}
    for strategy, refused in (("fedavg", False), ("ditto", True), ("fedbn", True)):
        job = make_job(**asked, strategy={"name": strategy, "min_sites": 3}, model_norm="batch")
        wire = Wire.of(build_model(job, started=False), job.strategy)
        with pytest.raises(JobError, match="a model of its own") if refused else nullcontext():
            require_one_model(job, wire)
