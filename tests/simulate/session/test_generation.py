"""Images drawn by a federation: it learns, is judged, and does not depend on how it runs."""

import csv
import io
import json
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from shared.errors import WardroundError
from shared.job.schema import load_job
from shared.job.template import write_job
from shared.networks import NETWORKS
from simulate.session.session import Hospitals, execute, start
from tests.conftest import write_dataset
from tests.jobs import make_job
from tests.simulate.session.test_resume import in_a_process, new_run, outcome

LEARNS = {
    "task_name": "generation",
    "task_penalty": 10.0,
    "model_generator": {"name": "generator", "channels": [16, 32]},
    "model_discriminator": {"name": "discriminator", "channels": [16, 32]},
    "job_rounds": 4,
    "training_local_epochs": None,
    "training_local_steps": 20,
    "training_batch_size": 16,
    "training_optimizer": "adam",
    "training_learning_rate": 1e-3,
    "training_momentum": 0.0,
    "training_keep_optimizer": True,
    "evaluation_select_best": "frechet",
}
SHORT = LEARNS | {
    "model_generator": {"name": "generator", "channels": [8, 16]},
    "model_discriminator": {"name": "discriminator", "channels": [8, 16]},
    "job_rounds": 1,
    "training_local_steps": 2,
}
SECURE = {"privacy_secure_aggregation": True, "strategy_weight": "equal"}


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the manifest of four hospitals with bright discs on grey."""
    return write_dataset(tmp_path_factory.mktemp("discs") / "data", patients=30)


def run_of(job, data: Path, out: Path, **options) -> Path:
    run = start(job, Hospitals(data=data), out, "cpu", baselines=options.pop("baselines", False))
    execute(run, "in-process", Console(file=io.StringIO()), **options)
    return run.path


def distances(run: Path) -> list[float]:
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row["frechet"]) for row in csv.DictReader(file)]


def test_a_federation_learns_to_draw(discs: Path, tmp_path: Path) -> None:
    hardly = {"job_rounds": 1, "training_local_steps": 1, "training_learning_rate": 1e-9}
    [untrained] = distances(run_of(make_job(**LEARNS | hardly), discs, tmp_path / "untrained"))
    run = run_of(make_job(**LEARNS), discs, tmp_path / "trained")
    assert min(distances(run)) < untrained / 2
    with Image.open(run / "samples.png") as picture:
        pixels = np.array(picture)
    assert pixels.shape == (8 * 16, 8 * 16)
    assert (pixels.min(), pixels.max()) == (0, 255)


@pytest.mark.parametrize("classes", [[], ["small", "large"]])
def test_baselines_are_judged_too(classes: list[str], tiny_data: Path, tmp_path: Path) -> None:
    run = run_of(make_job(**SHORT, task_classes=classes), tiny_data, tmp_path, baselines=True)
    about = json.loads((run / "run.json").read_text())
    assert about["baselines"]["pooled"]["federation"]["frechet"] > 0
    assert about["test"]["federation"]["frechet"] > 0
    assert about["comparison"]["metrics"] == {}
    assert "a bootstrap draws some of them twice" in about["comparison"]["no_interval"]["frechet"]


def test_masked_sums_are_judged_as_plain_ones(tiny_data: Path, tmp_path: Path) -> None:
    options = SHORT | {"training_local_steps": 1, "strategy_weight": "equal"}
    options |= {"training_learning_rate": 1e-9}  # two models that differ by nothing that can be seen
    found = []
    for further in ({}, SECURE):
        run = run_of(make_job(**options | further), tiny_data, tmp_path / str(len(found)))
        found.append(json.loads((run / "run.json").read_text())["test"]["federation"]["frechet"])
    assert found[1] == pytest.approx(found[0], rel=1e-3)


@pytest.mark.slow
def test_killed_and_resumed_as_if_never_stopped(tiny_data: Path, tmp_path: Path) -> None:
    job = make_job(**SHORT | {"job_rounds": 3})
    whole = new_run(job, tiny_data, tmp_path / "whole")
    assert in_a_process(whole, job, resume=False) == 0
    killed = new_run(job, tiny_data, tmp_path / "killed")
    assert in_a_process(killed, job, resume=False, moment=15) == -signal.SIGKILL
    assert in_a_process(killed, job, resume=True) == 0
    assert outcome(killed) == outcome(whole)


def test_a_new_job_of_a_generation_can_be_run(tmp_path: Path) -> None:
    job = load_job(write_job("faces", "generation", tmp_path / "faces.toml"))
    assert set(job.model) == {"generator", "discriminator"}
    assert all(own.name in NETWORKS for own in job.model.values())


def test_a_label_of_no_class_is_named_before_training(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(WardroundError, match=r"'small'"):
        run_of(make_job(**LEARNS, task_classes=["medium", "large"]), tiny_data, tmp_path)
