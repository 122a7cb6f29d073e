"""`wardround tune`: trials on validation patients alone, that go on where they were stopped."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from server.runs.control import RunDetails, RunRow
from server.runs.events import Event
from shared.describing_job import describing_job
from shared.errors import RunError
from shared.job.schema import JobSpec, load_job
from shared.run_folder import RunRecord
from simulate.session.session import Hospitals, execute, start
from simulate.tuning.folder import Tuning
from simulate.tuning.search import RUNS, Search
from simulate.tuning.space import read_space, without_test
from simulate.tuning.trials import Place, Submitted
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
        first.go_on(tuning.trials("in-process", print), stop)
    first._study.ask()  # the next one was begun when it was killed
    again = Tuning.open(tuning.folder)
    second = Search(again.folder, again.job, again.space)
    second.go_on(again.trials("in-process", print), lambda _: None)
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


class AtHand:
    """The runs of a coordinator whose hospitals are at hand; who follows its second run is cut off once."""

    def __init__(self, folder: Path, data: Path) -> None:
        self._folder, self._hospitals = folder, Hospitals(data=data)
        self.runs: dict[str, list[Event]] = {}
        self.stopped: list[str] = []
        self.is_cut = False

    def submit(self, job: JobSpec, project: str | None = None, priority: str = "normal") -> str:
        run = start(job, self._hospitals, self._folder, "cpu", baselines=False)
        events = self.runs[run.path.name] = []
        execute(run, "in-process", Console(quiet=True), also=events.append)
        return run.path.name

    def look(self, name: str) -> Any:
        run = RunRecord.read(self._folder / name)
        return RunDetails(RunRow(name, run.status, 2, 2, "", "", "", ""), run.job, run.read_description())

    def follow(self, name: str) -> Iterator[Event]:
        for event in self.runs[name]:
            if len(self.runs) == 2 and not self.is_cut and event.kind == "round_finished":
                self.is_cut = True
                raise KeyboardInterrupt
            yield event

    def stop(self, name: str) -> None:
        self.stopped.append(name)


def test_on_real_hospitals_each_trial_is_a_job_that_leaves_the_test_closed(tiny_data, tmp_path) -> None:
    """A trial whose run went on while nobody followed it is followed again, and not submitted twice."""
    space, job = tmp_path / "space.toml", make_job(job_rounds=2, job_seed=1)
    space.write_text('[tune]\ntrials = 3\n[vary]\n"training.learning_rate" = { low = 1e-3, high = 0.1 }\n')
    tuning = Tuning.begin(tmp_path / "out", job, space, Hospitals(), "cpu", place=Place(project="brain"))
    coordinator = AtHand(tmp_path / "runs", tiny_data)
    trials = Submitted(coordinator, "brain", print)
    with pytest.raises(KeyboardInterrupt):
        Search(tuning.folder, job, tuning.space).go_on(trials, lambda _: None)
    again = Tuning.open(tuning.folder)
    assert again.place == tuning.place
    search = Search(again.folder, again.job, again.space)
    search.go_on(trials, lambda _: None)
    assert [one.run for one in search.tried()] == list(coordinator.runs)
    assert len(coordinator.runs) == 3
    for one in search.tried():
        found = coordinator.look(one.run)
        assert not found.job.evaluation.test
        assert found.row.status == "finished"
        assert "test" not in found.description
        events = coordinator.runs[one.run]
        scores = [float(event.data["dice_global"]) for event in events if event.kind == "round_finished"]
        assert one.score in scores
    best = again.conclude(search)
    assert best is not None
    assert load_job(again.folder / "best.toml").evaluation.test


def test_a_run_of_a_trial_that_fails_at_the_hospitals_ends_the_tuning_and_says_why(
    tiny_data, tmp_path
) -> None:
    coordinator = AtHand(tmp_path / "runs", tiny_data)
    name = coordinator.submit(make_job(job_rounds=1))
    coordinator.runs[name] = coordinator.runs[name][:1]
    with pytest.raises(RunError, match="is finished after round 2"):
        Submitted(coordinator, None, print).follow(name, lambda _: None)


def test_the_data_of_a_job_that_leaves_the_test_closed_can_be_described() -> None:
    closed = without_test(make_job(job_rounds=2))
    assert describing_job(closed).job.describes
