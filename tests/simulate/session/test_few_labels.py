"""A simulation in which the labels of few patients are used."""

import pytest

from tests.conftest import write_dataset
from tests.jobs import job_text


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_few_labels_are_used_and_the_same_ones_again(cli, simulate, tmp_path, task):
    job = tmp_path / "few.toml"
    options = {
        "task_name": task,
        "task_unlabelled": {"method": "mean-teacher"},
        "job_rounds": 2,
        "evaluation": None,
    }
    job.write_text(job_text(**options))
    data = write_dataset(tmp_path / "data", ("alpha", "beta", "gamma"), patients=6)
    given = ("--data", data, "--out")
    runs = [simulate("--labelled", "0.5", *given, f"out-{number}", job=job).run for number in range(2)]
    models = [(run / "model.safetensors").read_bytes() for run in runs]
    assert models[0] == models[1]
    other = simulate(*given, "all", job=job).run
    assert (other / "model.safetensors").read_bytes() != models[0]


def test_a_job_that_needs_all_labels_is_told_so(cli, tiny_job_file, tiny_data):
    said = cli("simulate", tiny_job_file, "--data", tiny_data, "--labelled", "0.5")
    assert said.code == 2
    assert "--labelled" in said.err
    assert "[task.unlabelled]" in said.err
