"""The bins of scores over a whole run: few enough, where the scores are, and the same after a restart."""

import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from client.work import hospital
from server.runs.checkpoint import read_checkpoint
from server.runs.folder import RunFolder
from simulate.session.session import Hospitals, execute, start
from tests.conftest import write_dataset
from tests.simulate.session.test_resume import new_run, outcome, through_kills

PATIENTS = 60  # of each of four hospitals, a third of them for validation


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("many") / "data", patients=PATIENTS)


@pytest.fixture
def job(tiny_job):
    return tiny_job(
        task_name="classification",
        evaluation_select_best="auroc",
    )


def rows(path):
    with (path / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_scores_are_counted_in_a_bin_for_ten_patients_where_they_are(job, data, tmp_path, monkeypatch):
    """Every site of an evaluation has the same edges, and after the first they follow the scores."""
    asked = []

    def evaluate(bench, samples, edges=None, **options):
        asked.append(edges)
        return original(bench, samples, edges, **options)

    original = hospital.evaluate
    monkeypatch.setattr(hospital, "evaluate", evaluate)
    run = start(job, Hospitals(data=data), tmp_path, "cpu", baselines=False)
    execute(run, "in-process", Console(file=io.StringIO()))
    evaluations = [asked[i : i + 4] for i in range(0, len(asked), 4)]
    assert len(evaluations) == 4  # three rounds and the test
    for edges in evaluations:
        assert all(np.array_equal(one, edges[0]) for one in edges)
        assert edges[0].shape == (1, 4 * (PATIENTS // 3 - 5) // 10 - 1)  # each may have rounded by 5
    curves = read_checkpoint(run.path / "checkpoint.safetensors", job.digest()).curves
    assert curves.positives.sum() + curves.negatives.sum() == 4 * PATIENTS // 3 * 2
    assert np.ptp(evaluations[1][0]) < np.ptp(evaluations[0][0])
    assert all(0 <= float(row["auroc"]) <= 1 for row in rows(run.path))
    tested = json.loads((run.path / "run.json").read_text())["test"]
    assert 0 <= tested["federation"]["auroc"] <= 1


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_with_the_same_bins(job, data, tmp_path):
    whole = new_run(job, data, tmp_path / "whole")
    execute(RunFolder.open(whole, job), "in-process", Console(file=io.StringIO()))
    path = new_run(job, data, tmp_path / "killed")
    assert through_kills(path, job, 12, 18) >= 2
    assert outcome(path) == outcome(whole)
