"""Runs of a job with two networks, where its task is installed: `tests/test_plugin.py` starts these tests."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.errors import JobError
from shared.job.model_size import model_size
from shared.job.rules import about_model_megabytes
from shared.job.schema import JobSpec, parse_job
from shared.networks.build import build_model
from shared.tasks import TASKS
from shared.wire.packed_model import Layout
from tests.pairs import pair_tables
from tests.simulate.session.test_resume import in_a_process, new_run, outcome, run_to_the_end

OF_STRATEGIES: dict[str, dict[str, Any]] = {
    "fedprox": {"strategy_proximal_mu": 0.1},
    "scaffold": {"training_generator": {"learning_rate": 0.1}},
    "fedbn": {},
    "fedadam": {"training_keep_optimizer": True, "training_discriminator": {"optimizer": "sgd"}},
}
SECURE = {"privacy_secure_aggregation": True, "strategy_weight": "equal"}
PRIVATE = {
    "privacy_mechanism": "dp-sgd",
    "privacy_noise_multiplier": 1.0,
    "strategy_weight": "equal",
    "training_local_epochs": None,
    "training_local_steps": 2,
}


def pair(**options: Any) -> JobSpec:
    """Return the job of the tiny hospitals with two networks."""
    return parse_job(pair_tables(evaluation={"select_best": "loss"}, **options), "pair")


def moved(job: JobSpec, run: Path) -> dict[str, float]:
    """Return how far each network went from where it began."""
    model = build_model(job)
    layout = Layout.of(model)
    first, last = layout.state_dict(layout.pack(model)), load_file(run / "model.safetensors")
    far = {name: float(np.abs(last[name] - first[name].numpy()).max()) for name in last}
    roles = {name.partition(".")[0] for name in far}
    return {role: max(far[name] for name in far if name.startswith(f"{role}.")) for role in roles}


@pytest.mark.parametrize("name", OF_STRATEGIES)
def test_killed_and_resumed_as_if_never_stopped(name: str, tiny_data: Path, tmp_path: Path) -> None:
    job = pair(strategy_name=name, **OF_STRATEGIES[name])
    whole = new_run(job, tiny_data, tmp_path / "whole")
    run_to_the_end(whole, job, resume=False, moment=None)
    killed = new_run(job, tiny_data, tmp_path / "killed")
    assert in_a_process(killed, job, resume=False, moment=15) == -signal.SIGKILL
    assert in_a_process(killed, job, resume=True) == 0
    assert outcome(killed) == outcome(whole)


@pytest.mark.parametrize("options", [{}, SECURE, PRIVATE, {**PRIVATE, **SECURE}, {"task_blind": True}])
def test_both_networks_learn(options: dict[str, Any], tiny_data: Path, tmp_path: Path) -> None:
    job = pair(**options)
    run = new_run(job, tiny_data, tmp_path)
    run_to_the_end(run, job, resume=False, moment=None)
    assert min(moved(job, run).values()) > 1e-4


def test_phases_that_see_no_sample_have_nothing_to_protect() -> None:
    with pytest.raises(JobError, match="no phase of 'toy-pair' sees a sample"):
        pair(**PRIVATE, task_blind=True)


def test_the_size_of_a_model_is_that_of_all_its_networks() -> None:
    job = pair()
    assert model_size(job).each == 4 * Layout.of(build_model(job)).size
    assert about_model_megabytes(job) == pytest.approx(model_size(job).each / 1e6, rel=1 / 3)


def test_a_new_job_has_a_table_for_each_network_and_phase(tmp_path: Path) -> None:
    from shared.job.schema import load_job
    from shared.job.template import write_job

    job = load_job(write_job("pairs", "toy-pair", tmp_path / "pairs.toml"))
    assert list(job.model) == list(TASKS["toy-pair"].example["model"])
    assert job.training.of("discriminator").learning_rate == 1e-4


def test_overrides_reach_the_tables_within_tables(tmp_path: Path) -> None:
    from shared.job.schema import load_job
    from shared.job.template import write_job

    path = write_job("pairs", "toy-pair", tmp_path / "pairs.toml")
    job = load_job(path, {"training.generator.momentum": 0.5, "model.generator.parts": 2})
    assert job.training.of("generator").momentum == 0.5
    assert job.model["generator"].parts == 2
