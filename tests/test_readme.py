"""The commands of the README work as they stand there, from the project's folder."""

import csv
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from shared.job.schema import load_job
from shared.networks.build import build_model
from tests.cli import wardround

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def commands(program: str) -> list[str]:
    """Return the commands of all blocks; what a command prints stands in blocks marked as text."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    lines = [line for kind, block in blocks if kind != "text" for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.startswith(f"{program} ")]


MAKES = "wardround data example "


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """Return what a fresh clone has, with the examples that its commands make."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "configs").symlink_to(PROJECT / "configs")
    for command in commands("wardround"):
        if command.startswith(MAKES):
            made = wardround(*shlex.split(command)[1:], cwd=folder)
            assert made.returncode == 0, made.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in commands("wardround") if not line.startswith(MAKES)])
def test_commands_run(command, clone):
    words = shlex.split(command)[1:]
    if words[0] == "simulate":
        words += ["--rounds", "1"]  # instead of twenty
    result = wardround(*words, cwd=clone)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_the_two_commands_are_targets_of_the_makefile():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    assert commands("make") == ["make simulate", "make test"]
    for command in commands("make"):
        assert re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE)


def test_one_command_of_a_fresh_clone_installs_and_gives_a_first_result(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    clean = {name: value for name, value in os.environ.items() if "MAKE" not in name}  # of `make test`
    command = ["make", "--dry-run", "simulate"]
    said = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True)
    venv, install, stamp, last = said.stdout.splitlines()
    assert venv.endswith("-m venv .venv")
    assert install.endswith("-c constraints.txt -e .")
    assert stamp == "touch .venv/installed"
    assert last == ".venv/bin/wardround simulate configs/jobs/quickstart.toml"


@pytest.mark.slow
def test_the_first_result_has_pictures_and_little_is_trained_for_it(tmp_path):
    """How long it takes, `benchmarks/first_result.py` measures; here its work is counted."""
    (tmp_path / "configs").symlink_to(PROJECT / "configs")
    words = ("simulate", "configs/jobs/quickstart.toml", "--rounds", "1", "--workers", "in-process")
    said = wardround(*words, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    (page,) = (tmp_path / "runs").glob("*/report.html")
    assert f"Report: {page.relative_to(tmp_path)}" in said.stdout
    assert page.read_text(encoding="utf-8").count("data:image/png") >= 3
    with (page.parent / "sites.csv").open(newline="") as file:
        images = sum(int(row["examples"]) for row in csv.DictReader(file) if row["phase"] == "train")
    job = load_job(PROJECT / "configs" / "jobs" / "quickstart.toml")
    assert images * job.training.local_epochs * job.job.rounds <= 6000  # images of a training
    assert sum(parameter.numel() for parameter in build_model(job).parameters()) <= 200_000


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (PROJECT / target).exists(), target


def test_the_table_has_the_columns_that_the_command_prints():
    for column in ("site", "patients", "images", "Dice", "IoU", "federation", "Run folder:"):
        assert column in README
