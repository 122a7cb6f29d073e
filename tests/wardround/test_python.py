"""`import wardround`: what a researcher does in Python is what the command line does."""

import doctest
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import wardround
from shared.errors import RunError
from tests.cli import wardround as command
from tests.jobs import job_text

pd = pytest.importorskip("pandas")
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> wardround.Run:
    folder = tmp_path_factory.mktemp("python")
    (folder / "tiny.toml").write_text(job_text())
    return wardround.simulate(
        folder / "tiny.toml", data=tiny_data, workers="in-process", out=folder / "runs", progress=False
    )


def test_a_run_is_what_the_command_makes(run: wardround.Run, tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(job_text())
    ended = command(
        *("simulate", "tiny.toml", "--data", tiny_data, "--workers", "in-process", "--json"), cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    [model] = (tmp_path / "runs").glob("*/model.safetensors")
    assert model.read_bytes() == (run.path / "model.safetensors").read_bytes()


def test_nothing_is_printed_without_progress(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.toml").write_text(job_text(job_rounds=1))
    job = wardround.Job.read(tmp_path / "tiny.toml")
    wardround.simulate(job, data=tiny_data, workers="in-process", out=tmp_path / "a", progress=False)
    assert capsys.readouterr().out == ""
    wardround.simulate(job, data=tiny_data, workers="in-process", out=tmp_path / "b")
    said = capsys.readouterr().out
    assert "round 1/1" in said
    assert "Run folder" in said


def test_what_a_run_says(run: wardround.Run) -> None:
    assert (run.status, run.job.name, run.job.rounds) == ("finished", "tiny", 3)
    assert list(run.metrics["round"]) == [1, 2, 3]
    assert run.metrics["dice_global"].between(0, 1).all()
    assert set(run.site_metrics["site"]) == {"alpha", "beta", "gamma", "delta"}
    assert "the model" in run.results.columns
    assert {"results-results", "learning-loss"} & set(run.tables)
    assert repr(run) == f"<Run {run.name}: finished>"


def test_a_model_is_a_module_that_says_what_the_test_was_of(run: wardround.Run) -> None:
    model = run.model()
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    with torch.no_grad():
        assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 2, 16, 16)


def test_predictions_are_a_table(run: wardround.Run, tiny_data: Path, tmp_path: Path) -> None:
    told = run.predict(tiny_data, tmp_path / "said")
    assert len(told.table) == 24
    assert told.problems == ()
    assert told.page.is_file()
    assert all((told.folder / mask).is_file() for mask in told.table["mask"])


def test_a_report_a_card_and_a_comparison(run: wardround.Run, tmp_path: Path) -> None:
    page = wardround.report(run, out=tmp_path / "page.html", card=tmp_path / "README.md")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "README.md").is_file()
    found = wardround.compare(run, run.path)
    assert found.differences.empty
    assert any("4 test patients are too few for an interval" in line for line in found.says)
    assert "too few" in repr(found)
    assert "metric" in found.tables["results-results"].columns
    with pytest.raises(wardround.WardroundError, match="a card is of one run"):
        wardround.report(run, run, card=tmp_path / "other.md")


def test_a_dataset_is_checked_for_a_job(tiny_data: Path, tmp_path: Path) -> None:
    data = wardround.Dataset(str(tiny_data.parent))
    (tmp_path / "tiny.toml").write_text(job_text())
    found = data.check(tmp_path / "tiny.toml")
    assert (found.trainable, found.patients, found.images) == (True, 12, 24)
    assert found.sites.groupby("split")["patients"].sum().to_dict() == {"train": 4, "val": 4, "test": 4}
    (tmp_path / "tiny.toml").write_text(job_text(data_channels=3))
    wrong = data.check(tmp_path / "tiny.toml")
    assert not wrong.trainable
    assert "has 1 channel, but the job wants 3" in wrong.errors[0]


def test_a_job_is_made_of_its_data_and_changed(tiny_data: Path, tmp_path: Path) -> None:
    job = wardround.Job.new("discs", "segmentation", data=tiny_data, changes={"job.rounds": 2})
    assert (job.name, job.rounds, job.spec.data.size, job.spec.data.channels) == ("discs", 2, [32, 32], 1)
    other = job.changed({"training.learning_rate": 0.5, "job.rounds": 3})
    assert (other.rounds, other.spec.training.learning_rate, job.rounds) == (3, 0.5, 2)
    assert other.digest != job.digest == job.changed({}).digest
    command("job", "new", "discs", "--task", "segmentation", "--data", tiny_data, cwd=tmp_path)
    assert wardround.Job.read(tmp_path / "discs.toml", {"job.rounds": 2}).digest == job.digest
    with pytest.raises(wardround.WardroundError, match="must be at least 1"):
        job.changed({"training.batch_size": 0})
    with pytest.raises(wardround.WardroundError, match="unknown key"):
        job.changed({"training.learning_rat": 1.0})


def test_a_wrong_folder_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not the folder of a run"):
        wardround.Run(tmp_path)


def test_nobody_submits_who_has_not_logged_in(
    quickstart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(wardround.WardroundError, match="wardround login"):
        wardround.submit(quickstart)


def test_the_examples_of_the_docstrings_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    told = doctest.testmod(wardround, optionflags=doctest.ELLIPSIS)
    assert told.attempted
    assert not told.failed


def test_it_loads_nothing_heavy() -> None:
    script = (
        "import sys, wardround, wardround.extend\nprint('torch' in sys.modules, 'pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("workers", [1, 2])  # spawned, forked
def test_a_script_without_a_guard_simulates_with_processes(
    tiny_data: Path, tmp_path: Path, workers: int
) -> None:
    """A worker must not run the script that began it."""
    (tmp_path / "tiny.toml").write_text(job_text(job_rounds=1))
    script = tmp_path / "script.py"
    script.write_text(
        "import wardround\nprint('begun', flush=True)\n"
        f"run = wardround.simulate('tiny.toml', data={str(tiny_data)!r}, workers='{workers}')\n"
        "print(run.status)\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{PROJECT}{os.pathsep}{os.environ['PYTHONPATH']}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert (said.count("begun"), said[-1]) == (1, "finished")


def test_tables_say_what_they_need(run: wardround.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(wardround.WardroundError, match="tables need pandas") as told:
        _ = run.metrics
    assert "wardround[notebooks]" in str(told.value)
    assert np.isfinite(run.description["rounds"])
