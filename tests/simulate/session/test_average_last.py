"""A run whose result is the mean of its last rounds: the same bits after a stop, and named as what it is."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from server.rounds.last_rounds import LastRounds
from server.runs.folder import RunFolder
from tests.cli import wardround
from tests.conftest import write_dataset
from tests.jobs import job_text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("averaged")
    write_dataset(place / "data", patients=3)
    for name, evaluation in (("averaged", {"average_last": 2}), ("chosen", {"select_best": "loss"})):
        text = job_text(job_rounds=3, task_name="classification", evaluation=evaluation)
        (place / f"{name}.toml").write_text(text)
    return place


def simulate(place: Path, *options: object) -> Path:
    said = wardround("simulate", *options, "--workers", "in-process", "--json", cwd=place)
    assert said.returncode == 0, said.stderr
    return place / json.loads(said.stdout)["run"]


def test_the_model_is_the_mean_of_the_last_two_rounds(place: Path, monkeypatch):
    save, average, rounds = RunFolder.save, LastRounds.__call__, {}

    def keep(self, round_, vector):
        rounds[round_] = vector
        return average(self, round_, vector)

    def stop(self, checkpoint):
        saved = save(self, checkpoint)
        if checkpoint.round == 2:
            raise KeyboardInterrupt
        return saved

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save", stop)
        out = ("--out", "stopped", "--workers", "in-process", "--baselines")
        assert wardround("simulate", "averaged.toml", "--data", "data", *out, cwd=place).returncode == 130
    [run] = (place / "stopped").glob("tiny-*")
    simulate(place, "--resume", run)
    with monkeypatch.context() as patch:
        patch.setattr(LastRounds, "__call__", keep)
        once = simulate(place, "averaged.toml", "--data", "data")
    content = safetensors.numpy.load_file(once / "checkpoint.safetensors")
    assert content["vector"] == pytest.approx((rounds[2] + rounds[3]) / 2, abs=1e-6)
    assert (once / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    pooled = safetensors.numpy.load_file(run / "baselines" / "pooled.safetensors")
    assert all(np.isfinite(values).all() for values in pooled.values())
    said = (run / "report.html").read_text()
    assert "the mean of the models of the last 2 of 3 rounds" in said.lower()
    assert "opened once, for the mean of the models" in said


def test_few_patients_who_choose_a_round_are_a_warning(place: Path):
    said = [
        json.loads((run / "run.json").read_text())["warnings"]
        for run in (
            simulate(place, "chosen.toml", "--data", "data"),
            simulate(place, "averaged.toml", "--data", "data"),
        )
    ]
    assert [sum("chance chooses" in line for line in warnings) for warnings in said] == [1, 0]
    assert any(line.startswith("4 validation patients") for line in said[0])
