"""A job of no rounds: a finished run's model judged at all sites, with nothing trained."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch


def of_run(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


@pytest.fixture
def judging(cli, simulate, tmp_path: Path) -> tuple[Path, Path]:
    """Return a finished run, and the job that judges its model."""
    run = simulate("--rounds", "1").run
    said = cli("job", "judge", run, "--out", tmp_path / "second-look.toml")
    assert said.code == 0, said.err
    assert (tmp_path / "second-look.safetensors").is_file()
    return run, tmp_path / "second-look.toml"


def test_it_tells_what_the_run_told_of_its_test(cli, simulate, judging) -> None:
    run, job = judging
    second = simulate(job=job).run
    first, again = of_run(run), of_run(second)
    assert again["rounds"] == 0
    assert again["test"] == first["test"]
    assert again["comparison"]["metrics"] == first["comparison"]["metrics"]
    with (second / "sites.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == []  # nobody trained, nobody validated
    model, before = (safetensors.torch.load_file(one / "model.safetensors") for one in (second, run))
    for name, tensor in before.items():
        np.testing.assert_array_equal(model[name], tensor)
    shown = cli("show", second)
    assert shown.code == 0, shown.err
    assert "the model that the job names" in shown.out
    report = (second / "report.html").read_text()
    assert "Nothing was trained" in report


def test_a_new_hospital_needs_no_patients_to_train_on(cli, judging, tmp_path, tiny_data) -> None:
    _, job = judging
    rows = list(csv.DictReader(tiny_data.open(newline="")))
    with (tmp_path / "tested.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for row in rows:
            folder = tiny_data.parent
            found = {key: str(folder / row[key]) for key in ("image", "mask")}
            writer.writerow({**row, **found, "split": "test"})
    said = cli("simulate", job, "--data", tmp_path / "tested.csv", "--workers", "in-process")
    assert said.code == 0, said.err
    about = of_run(said.run)
    assert set(about["test"]["examples"]) == {row["site"] for row in rows}
    assert about["comparison"]["patients"] == len({row["patient"] for row in rows})


def test_what_belongs_to_a_training_is_refused(cli, judging, tiny_data) -> None:
    _, job = judging
    said = cli("simulate", job, "--data", tiny_data, "--baselines", "--workers", "in-process")
    assert said.code == 2
    assert "this job trains none" in said.err
    text = job.read_text()
    for before, after, says in (
        ("min_sites = ", "server_learning_rate = 1.0\nmin_sites = ", "strategy"),
        ('name = "fedavg"', 'name = "fedprox"', "must be 'fedavg'"),
        ("start_sha256", "fresh = ['head']\nstart_sha256", "fresh: nothing is trained"),
    ):
        job.write_text(text.replace(before, after, 1))
        refused = cli("job", "check", job)
        assert refused.code == 2
        assert says in refused.err
