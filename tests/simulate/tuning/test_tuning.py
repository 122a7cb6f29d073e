"""`wardround tune`: trials on validation patients alone, that go on where they were stopped."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import RunError
from shared.job.schema import load_job
from shared.run_folder import RunRecord
from simulate.session.session import Hospitals
from simulate.tuning.folder import Tuning
from simulate.tuning.search import RUNS, Search
from simulate.tuning.space import read_space
from tests.jobs import job_text, make_job

optuna = pytest.importorskip("optuna")

SPACE = """
[tune]
trials = 5
startup = 2
warmup = 1
[vary]
"training.learning_rate" = { low = 1e-4, high = 1e-1, log = true }
"model.channels" = [[4, 8], [4, 8, 8, 8, 8, 8, 8]]
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return path


@pytest.fixture
def tuned(cli, tiny_data, tmp_path, space) -> Any:
    """Return what a tuning said, of five trials of one round each; some of them can't be."""
    job = tmp_path / "tiny.toml"
    job.write_text(job_text(job_rounds=2, job_seed=1))
    said = cli("tune", job, space, "--data", tiny_data, "--workers", "in-process", "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_no_trial_looks_at_the_test_patients_and_the_best_one_may(cli, tuned, tiny_data) -> None:
    folder = Path(tuned["folder"])
    states = [trial["state"] for trial in tuned["trials"]]
    assert len(states) == 5
    assert "done" in states
    assert "failed" in states  # seven levels of 16 pixels
    for trial in tuned["trials"]:
        if trial["state"] == "failed":
            assert "size" in trial["reason"]
            continue
        run = RunRecord.read(folder / RUNS / trial["run"])
        assert run.status == "stopped"
        assert "test" not in run.read_description()
        assert not [event for event in run.events() if event.get("phase") == "test"]
        scores = [float(row["dice_global"]) for row in run.table("metrics.csv")]
        assert trial["score"] == pytest.approx(max(scores))
    best = max((one for one in tuned["trials"] if one["state"] == "done"), key=lambda one: one["score"])
    job = load_job(folder / "best.toml")
    assert job.training.learning_rate == best["values"]["training.learning_rate"]
    assert "Trials, the best first" in (folder / "tuning.html").read_text()
    said = cli("simulate", folder / "best.toml", "--data", tiny_data, "--workers", "in-process")
    assert said.code == 0, said.err
    assert RunRecord.read(said.run).read_description()["test"]


def test_a_tuning_that_was_stopped_tries_what_it_would_have_tried(tuned, tiny_data, tmp_path, space) -> None:
    class StoppedError(Exception):
        pass

    def stop(trial: Any) -> None:
        if trial.number == 3:
            raise StoppedError

    job = make_job(job_rounds=2, job_seed=1)
    tuning = Tuning.begin(tmp_path / "again", job, space, Hospitals(data=tiny_data), "cpu")
    first = Search(tuning.folder, tuning.job, tuning.space)
    with pytest.raises(StoppedError):
        first.go_on(tuning.hospitals, "in-process", "cpu", stop)
    first._study.ask()  # the next one was begun when it was killed
    again = Tuning.open(tuning.folder)
    second = Search(again.folder, again.job, again.space)
    second.go_on(again.hospitals, "in-process", again.device, lambda _: None)
    for one, other in zip(second.tried(), tuned["trials"], strict=True):
        assert {**vars(one), "run": ""} == {**other, "run": ""}


def test_what_decides_between_trials_may_not_vary(space: Path) -> None:
    job = make_job()
    for key in ("evaluation.bins", "privacy.epsilon", "job.seed", "job.dataset"):
        space.write_text(f'[vary]\n"{key}" = [1, 2]\n')
        with pytest.raises(RunError, match="may not vary"):
            read_space(space, job)
    space.write_text('[tune]\nmetric = "dice"\n[vary]\n"job.rounds" = [1, 2]\n')
    with pytest.raises(RunError, match="unknown metric 'dice'"):
        read_space(space, job)
    space.write_text('[vary]\n"training.momentum" = { low = 1, high = 0.5 }\n')
    with pytest.raises(RunError, match="low: must be below high"):
        read_space(space, job)


def test_what_mattered_is_found(tmp_path: Path, space: Path) -> None:
    space.write_text(
        '[tune]\nmetric = "loss"\n[vary]\n'
        '"training.learning_rate" = { low = 0.0, high = 1.0 }\n'
        '"training.momentum" = { low = 0.0, high = 1.0 }\n'
    )
    search = Search(tmp_path, make_job(), read_space(space, make_job()))
    assert search.lower_is_better
    among = {key: optuna.distributions.FloatDistribution(0.0, 1.0) for key in search.space.vary}
    for number in range(40):
        rate, momentum = (number * 7 % 40) / 40, (number * 11 % 40) / 40
        values = dict(zip(among, (rate, momentum), strict=True))
        search._study.add_trial(
            optuna.create_trial(params=values, distributions=among, value=(rate - 0.3) ** 2)
        )
    found = search.importance()
    assert found["training.learning_rate"] > 4 * found["training.momentum"]
    best = search.best()
    assert best is not None
    assert best.values["training.learning_rate"] == pytest.approx(0.3)
