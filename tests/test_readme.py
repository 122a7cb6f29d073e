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


def shortened(command: str, folder: Path) -> list[str]:
    """Return what stands behind `wardround`: one round instead of twenty, and files into a scratch folder."""
    words = shlex.split(command)
    if words[1] == "simulate":
        words += ["--rounds", "1", "--out", str(folder / "runs")]
    if words[1:3] == ["job", "new"]:
        words += ["--out", str(folder / "job.toml")]
    return words[1:]


@pytest.mark.slow
@pytest.mark.parametrize("command", commands("wardround"))
def test_commands_run(command, tmp_path, data_pack):
    for pack in re.findall(r"shared/data/(\w+)", command):
        data_pack(pack)
    if "--site" in command:
        data_pack("brain_lgg_5sites_2d")
    result = wardround(*shortened(command, tmp_path))
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
    for column in ("site", "patients", "images", "dice", "iou", "federation", "Run folder:"):
        assert column in README
