"""What an installed package adds: jobs may name it, and a hospital must name it first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs import job_text

PROJECT = Path(__file__).parents[1]
TOY = {
    "task_name": "classification",
    "model": {"name": "toy-linear", "tied": True},
    "data_augment": None,
    "job_rounds": 3,
    "strategy_name": "toy-memory",
    "strategy_min_sites": 2,
    "evaluation_metrics": [{"name": "toy-sureness", "power": 2}],
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which the package is installed beside Wardround."""
    place = tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("source")
    for file in (PROJECT / "tests" / "plugin").glob("*.*"):
        (source / file.name).write_bytes(file.read_bytes())  # setuptools writes beside what it builds
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(place), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(PROJECT), os.environ["PYTHONPATH"]])}


PAIR = {
    "task": {"name": "toy-pair"},
    "model": {"generator": {"name": "toy-linear"}, "discriminator": {"name": "toy-linear", "parts": 2}},
    "data_augment": None,
    "job_rounds": 3,
    "strategy_min_sites": 2,
    "evaluation": {"select_best": "fooled"},
}


def write_pair(folder: Path) -> Path:
    path = folder / "pair.toml"
    path.write_text(job_text(**PAIR))
    return path


def write_toy(folder: Path) -> Path:
    path = folder / "toy.toml"
    text = job_text(**TOY).replace('name = "classification"', 'name = "toy-grading"')
    path.write_text(text)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    return write_pair(tmp_path)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_toy(tmp_path)


def run(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(
        command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=600
    )


def test_job_check_says_which_package_a_name_comes_from(installed, job):
    done = run(installed, "wardround", "job", "check", job)
    assert done.returncode == 0, done.stderr
    assert "toy-linear (of the package wardround-toy)" in done.stdout
    assert "toy-memory (of the package wardround-toy)" in done.stdout
    assert "toy-sureness (of the package wardround-toy)" in done.stdout
    assert "toy-grading of small, large (of the package wardround-toy)" in done.stdout


def test_every_network_and_phase_of_a_job_is_named(installed, pair):
    pair.write_text(pair.read_text() + "[training.generator]\noptimizer = 'sgd'\n")
    done = run(installed, "wardround", "job", "check", pair)
    assert done.returncode == 0, done.stderr
    assert "toy-linear (of the package wardround-toy)" in done.stdout
    assert "discriminator with adamw, learning rate 0.01, generator with sgd" in done.stdout


def test_without_the_package_the_name_is_unknown(job):
    done = run(dict(os.environ), "wardround", "job", "check", job)
    assert done.returncode == 2
    assert "[task] name: unknown name" in done.stderr


def test_a_package_that_can_not_be_loaded_breaks_nothing(installed, job, tmp_path):
    broken = tmp_path / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_text("[wardround.networks]\nbroken = no_such_module:Network\n")
    environment = {**installed, "PYTHONPATH": f"{tmp_path}{os.pathsep}{installed['PYTHONPATH']}"}
    done = run(environment, "wardround", "job", "check", job)
    assert done.returncode == 0
    assert "'no_such_module:Network' of the package broken can't be used" in done.stderr


def test_of_two_packages_with_one_name_a_job_can_have_neither(installed, job, tmp_path):
    other = tmp_path / "other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[wardround.networks]\ntoy-linear = other:Other\n")
    source = "from wardround_toy import ToyLinear\nclass Other(ToyLinear): pass\n"
    (tmp_path / "other.py").write_text(source)
    environment = {**installed, "PYTHONPATH": f"{tmp_path}{os.pathsep}{installed['PYTHONPATH']}"}
    done = run(environment, "wardround", "simulate", job, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "'toy-linear' of the package other and wardround-toy can't be used" in done.stderr
    assert "[model] name: unknown name" in done.stderr
    assert not (tmp_path / "out").exists()


def test_data_are_checked_for_its_task_too(installed, job, tiny_data):
    job.write_text(job.read_text().replace('"large"', '"huge"'))
    done = run(installed, "wardround", "data", "check", tiny_data, "--job", job)
    assert done.returncode == 2
    assert "the label 'large' is not a class of the job" in done.stdout


def test_the_policy_refuses_it_until_it_is_named(installed, job):
    """Its options classes are those of this process, so what a site decides is asked in one of its own."""
    script = f"""
from pathlib import Path
from client.settings.policy import PolicyTable, check_job
from shared.errors import WardroundError
from shared.job.schema import load_job
job = load_job(Path({str(job)!r}))
named = {{
    "tasks": ["toy-grading"],
    "networks": ["toy-linear"],
    "strategies": ["toy-memory"],
    "metrics": ["toy-sureness"],
}}
for number in range(5):
    policy = dict(list(named.items())[:number])
    try:
        check_job(PolicyTable(**policy), job, "alpha")
        print("allowed")
    except WardroundError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=installed, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "alpha: policy.tasks does not name 'toy-grading', which comes with the package wardround-toy",
        "alpha: policy.networks does not name 'toy-linear', which comes with the package wardround-toy",
        "alpha: policy.strategies does not name 'toy-memory', which comes with the package wardround-toy",
        "alpha: policy.metrics does not name 'toy-sureness', which comes with the package wardround-toy",
        "allowed",
    ]


@pytest.mark.slow
def test_runs_of_two_networks_and_tasks_of_classes_have_all_that_the_built_in_ones_have(installed):
    files = ("session/two_networks", "session/toy_classes", "federation/toy_federation")
    paths = [f"tests/simulate/{file}.py" for file in files]
    done = run(installed, "pytest", "-q", "-p", "no:cacheprovider", *paths)
    assert done.returncode == 0, done.stdout[-5000:]
