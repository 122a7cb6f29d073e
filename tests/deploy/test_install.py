"""What installs a service, as far as it can be tried without root: what it says, and of which folder.

`.ci/install` runs it on an empty machine without a network.
"""

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
INSTALL = PROJECT / "deploy" / "install.sh"
FOLDERS = {"site": "/var/lib/wardround", "coordinator": "/var/lib/wardround-coordinator"}
NAMED = {"site": (), "coordinator": ("--name", "lung", "--host", "fed.example.org")}


def install(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([INSTALL, *arguments], capture_output=True, text=True, check=False, cwd="/")


@pytest.mark.parametrize("side", FOLDERS)
def test_all_steps_are_said_and_none_is_done(side: str) -> None:
    program = Path("/opt/wardround")
    before = program.exists()
    ended = install(side, *NAMED[side], "--dry-run")
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout
    for part in ("/opt/wardround/venv", "constraints.txt", f"wardround-{side}.service"):
        assert part in said
    assert FOLDERS[side] in said
    assert program.exists() == before


@pytest.mark.parametrize("side", FOLDERS)
def test_all_mean_the_same_folder(side: str) -> None:
    unit = (PROJECT / "deploy" / "systemd" / f"wardround-{side}.service").read_text(encoding="utf-8")
    folder = FOLDERS[side]
    assert re.search(rf"^ExecStart=/opt/wardround/venv/bin/wardround .* --dir {folder}$", unit, re.MULTILINE)
    assert f"StateDirectory={folder.removeprefix('/var/lib/')}\n" in unit
    image = (PROJECT / "deploy" / "docker" / f"{side}.Dockerfile").read_text(encoding="utf-8")
    assert f"VOLUME {folder}\n" in image
    assert f'"--dir", "{folder}"]' in image
    page = (PROJECT / "docs" / f"install-{side}.md").read_text(encoding="utf-8")
    assert f"`{folder}`" in page


@pytest.mark.parametrize("side", FOLDERS)
def test_the_pod_has_the_folder_of_the_docs(side: str) -> None:
    pod = (PROJECT / "deploy" / "kubernetes" / f"{side}.yaml").read_text(encoding="utf-8")
    assert f"mountPath: {FOLDERS[side]}}}" in pod
    if side == "site":
        assert f'"--dir", "{FOLDERS[side]}"' in pod  # the coordinator's is the image's own command


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "say what to install"),
        (("server",), "say what to install"),
        (("site", "--force", "--dry-run"), "unknown option --force"),
        (("site", "--join"), "--join needs a value"),
        (("site", "--join", "/nowhere", "--dry-run"), "/nowhere can't be read"),
        (("coordinator", "--dry-run"), "needs --name and --host"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str, ...], problem: str) -> None:
    ended = install(*arguments)
    assert ended.returncode == 2
    assert problem in ended.stderr


def test_removal_says_what_it_would_do() -> None:
    ended = install("site", "--remove", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert "rm -rf /opt/wardround" in ended.stdout
