"""The commands of the README work as they stand there, from the project's folder."""

import re
import shlex
from pathlib import Path

import pytest

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


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (PROJECT / target).exists(), target


def test_the_table_has_the_columns_that_the_command_prints():
    for column in ("site", "patients", "images", "Dice", "IoU", "federation", "Run folder:"):
        assert column in README
