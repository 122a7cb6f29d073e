"""Survival from end to end: hospitals, their statistics, resuming."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data.manifest.rows import scan_manifest
from server.runs.folder import RunFolder
from shared.job.schema import JobSpec
from simulate.data.phantom import make_phantom
from simulate.session.session import Hospitals, start
from tests.jobs import make_job
from tests.simulate.session.test_resume import outcome, run_to_the_end, through_kills


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom("phantom-survival", tmp_path_factory.mktemp("phantom"), 1)


def job(**options: Any) -> JobSpec:
    given = {
        "task_name": "survival",
        "job_dataset": "phantom-survival",
        "task_columns": ["age", "grade", "marker"],
        "task_intervals": None,
        "task_horizon": 48.0,
        "task_interval_count": 4,
        "training_batch_size": 32,
        "evaluation": {"select_best": "concordance"},
    }
    return make_job(**given | options)


def simulated(spec: JobSpec, data: Path, out: Path, **more: Any) -> Path:
    run = start(spec, Hospitals(data=data), out, "cpu", baselines=False, **more)
    run_to_the_end(run.path, spec, resume=False, moment=None)
    return run.path


def test_the_hospitals_are_scaled_by_the_moments_of_all_of_them(table: Path, tmp_path: Path) -> None:
    run = RunFolder.read(simulated(job(job_rounds=1), table, tmp_path)).read_description()
    rows = [record.cells for record in scan_manifest(table, ()).records if record.split == "train"]
    count, total, squares = run["statistics"]["columns"][0]
    ages = np.array([float(cells["age"]) for cells in rows])
    assert count == sum(site["patients"]["train"] for site in run["sites"].values())
    assert total / count == pytest.approx(ages.mean(), abs=1.5)  # those who validate are not among them
    assert squares / count - (total / count) ** 2 == pytest.approx(ages.var(), rel=0.1)
    assert 0.8 * count <= run["statistics"]["columns"][2][0] < count  # nobody measured the marker of some


@pytest.mark.parametrize("loss", ["hazard", "cox"])
def test_a_network_learns_who_is_at_risk(table: Path, tmp_path: Path, loss: str) -> None:
    options = {"task_horizon": None} if loss == "cox" else {}
    options["evaluation"] = {}  # the last round: so few validation patients choose one by chance
    spec = job(task_loss=loss, job_rounds=4, training_local_epochs=5, training_learning_rate=0.02, **options)
    about = RunFolder.read(simulated(spec, table, tmp_path)).read_description()
    assert about["test"]["federation"]["concordance"] > 0.6
    worth = about["comparison"]["metrics"]
    assert worth["concordance"]["value"] == pytest.approx(about["test"]["federation"]["concordance"])
    assert worth["concordance"]["low"] < worth["concordance"]["value"] < worth["concordance"]["high"]
    assert worth["concordance"]["constant"] == worth["concordance"]["site"] == 0.5
    if loss == "hazard":
        brier = worth["integrated_brier"]
        assert brier["lower_is_better"]
        assert brier["low"] < brier["value"] < brier["high"]
        assert 0 < brier["constant"] < 0.26
        assert 0 < brier["site"] < 0.26


def test_masked_sums_say_what_plain_ones_do(table: Path, tmp_path: Path) -> None:
    plain, masked = (
        RunFolder.read(
            simulated(job(job_rounds=1, privacy_secure_aggregation=secure), table, tmp_path / str(secure))
        ).read_description()
        for secure in (False, True)
    )
    for name, numbers in plain["statistics"].items():
        np.testing.assert_allclose(masked["statistics"][name], numbers, rtol=1e-12)
    assert masked["statistics"]["times"] == plain["statistics"]["times"]  # counts are exact
    of_plain, of_masked = plain["test"]["federation"], masked["test"]["federation"]
    assert of_masked.keys() == of_plain.keys()
    assert of_masked["concordance"] == pytest.approx(of_plain["concordance"], abs=0.05)  # other orders
    assert of_masked["integrated_brier"] == pytest.approx(of_plain["integrated_brier"], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("secure", [False, True])
def test_killed_and_resumed_runs_rest_on_the_same_statistics(
    table: Path, tmp_path: Path, *, secure: bool
) -> None:
    spec = job(job_rounds=2, privacy_secure_aggregation=secure)
    besides = ["bytes"] if secure else []  # signatures differ in length
    expected = outcome(simulated(spec, table, tmp_path / "whole"), *besides)
    path = start(spec, Hospitals(data=table), tmp_path / "killed", "cpu", baselines=False).path
    assert through_kills(path, spec, 2, 5) >= 1
    assert outcome(path, *besides) == expected
