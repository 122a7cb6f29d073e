"""A simulation that starts from a run's model."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

from tests.jobs import job_text


def started_job(cli, folder: Path, run: Path) -> Path:
    """Write a job that starts from a run's model, with the keys that the command prints."""
    job = folder / "second.toml"
    job.write_text(job_text(job_name="second", job_rounds=1))
    said = cli("job", "start", run, "--job", job, "--out", folder / "first.safetensors")
    assert said.code == 0, said.err
    keys = tomllib.loads(said.out[said.out.index("[model]") :])["model"]
    job.write_text(
        job_text(job_name="second", job_rounds=1, **{f"model_{key}": own for key, own in keys.items()})
    )
    return job


def test_a_run_goes_on_from_the_model_of_another(cli, simulate, tmp_path: Path) -> None:
    run = simulate().run
    job = started_job(cli, tmp_path, run)
    second = simulate("--set", "training.learning_rate=1e-12", job=job).run
    model, before = (safetensors.torch.load_file(one / "model.safetensors") for one in (second, run))
    for name, tensor in before.items():
        if "running" not in name:  # batch norm counts, whatever the learning rate
            np.testing.assert_allclose(model[name], tensor, atol=1e-6)
    told = json.loads((second / "run.json").read_text())["start"]["model"]
    assert (told["name"], told["drawn"], told["unused"]) == ("first", [], [])
    assert told["tensors"] == len(before)


def test_the_baselines_start_from_it_too(cli, simulate, tmp_path: Path) -> None:
    run = simulate().run
    job = started_job(cli, tmp_path, run)
    second = simulate("--baselines", "--set", "training.learning_rate=1e-12", job=job).run
    pooled = safetensors.torch.load_file(second / "baselines" / "pooled.safetensors")
    for name, tensor in safetensors.torch.load_file(run / "model.safetensors").items():
        if "running" not in name:
            np.testing.assert_allclose(pooled[name], tensor, atol=1e-6)


def test_a_run_is_repeated_with_what_it_kept(cli, simulate, tmp_path: Path, tiny_data) -> None:
    job = started_job(cli, tmp_path, simulate().run)
    second = simulate(job=job).run
    (tmp_path / "first.safetensors").unlink()
    data = next(iter(json.loads((second / "simulation.json").read_text())["sites"]))["datasets"]["discs"][
        "manifest"
    ]
    again = cli(
        "simulate", "--as-in", second, "--data", data, "--workers", "in-process", "--out", tmp_path / "again"
    )
    assert again.code == 0, again.err
    [repeated] = (tmp_path / "again").glob("second-*")
    assert (repeated / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_a_missing_file_is_named_before_anything_is_trained(cli, simulate, tmp_path: Path, tiny_data) -> None:
    job = started_job(cli, tmp_path, simulate().run)
    (tmp_path / "first.safetensors").unlink()
    said = cli(
        "simulate", job, "--data", tiny_data.parent, "--workers", "in-process", "--out", tmp_path / "out"
    )
    assert said.code == 2
    assert "first.safetensors: is missing, and the job starts from it" in said.err
    assert not list((tmp_path / "out").glob("second-*"))


def test_a_strategy_that_keeps_a_part_of_it_at_the_sites_is_refused(
    cli, simulate, tmp_path: Path, tiny_data
) -> None:
    job = started_job(cli, tmp_path, simulate().run)
    said = cli(
        *("simulate", job, "--data", tiny_data.parent, "--workers", "in-process", "--out", tmp_path / "out"),
        *("--set", "strategy.name=fedbn"),
    )
    assert said.code == 2
    assert "'fedbn' keeps" in said.err


def test_a_check_says_what_a_file_beside_the_job_has(cli, simulate, tmp_path: Path) -> None:
    job = started_job(cli, tmp_path, simulate().run)
    said = cli("job", "check", job)
    assert said.code == 0
    assert "first.safetensors: taken: " in said.out
    assert "unet from weights 'first' of the coordinator's (SHA-256 " in said.out

    file = tmp_path / "first.safetensors"
    tensors = safetensors.torch.load_file(file)
    name = next(iter(tensors))
    file.write_bytes(safetensors.torch.save({**tensors, name: tensors[name] + 1}))
    said = cli("job", "check", job)
    assert said.code == 2
    assert "is not the one that start_sha256 names" in said.err

    file.unlink()
    assert "the coordinator must have it" in cli("job", "check", job).out


@pytest.mark.parametrize("file", ["nothing.pt", "empty"])
def test_what_is_no_file_of_weights_is_said(cli, tmp_path: Path, file: str) -> None:
    (tmp_path / "empty").mkdir()
    job = tmp_path / "job.toml"
    job.write_text(job_text())
    said = cli("job", "start", tmp_path / file, "--job", job)
    assert said.code == 2
    assert file in said.err
