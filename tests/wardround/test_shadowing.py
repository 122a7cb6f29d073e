"""Other packages and files called like ours: the first import says so, and how it is mended."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
NAMES = ("shared", "client", "server", "simulate")


def python(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, whose files come first, as they do in a notebook."""
    places = [str(path)] if path else [str(PROJECT)]
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["file", "package"])
def test_an_import_says_what_is_in_the_way(tmp_path: Path, name: str, kind: str) -> None:
    other = tmp_path / f"{name}.py" if kind == "file" else tmp_path / name / "__init__.py"
    other.parent.mkdir(exist_ok=True)
    other.write_text("")
    done = python(tmp_path, "-c", "import wardround")
    assert done.returncode == 1
    said = done.stderr[done.stderr.index("ImportError: ") :]
    assert f"'{name}' is {other}, where Wardround needs its own package" in said
    assert "Rename that file or folder" in said


def test_the_command_says_it_as_an_error(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text("")
    done = python(tmp_path, "-m", "wardround", "--help")
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'client' is ")
    assert "Traceback" not in done.stderr


def test_the_installed_command_says_it_too(tmp_path: Path) -> None:
    """Its script has a folder of its own, so only a package that is installed before ours is in its way."""
    script = tmp_path / "wardround"
    script.write_text("from wardround.cli import main\nmain()\n")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "__init__.py").write_text("")
    done = python(tmp_path, str(script), "--help")
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'shared' is ")


def test_a_folder_of_the_same_name_without_code_is_not_in_the_way(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).mkdir()
    done = python(tmp_path, "-m", "wardround", "--version")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of packages that begins as an installation does."""
    place = tmp_path_factory.mktemp("site-packages")
    for name in (*NAMES, "wardround"):
        shutil.copytree(PROJECT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    return place


@pytest.mark.parametrize("content", ["__version__ = '1'\n", None], ids=["installed over", "removed"])
def test_a_package_installed_over_ours_is_noticed(
    installed: Path, tmp_path: Path, content: str | None
) -> None:
    """The PyPI package `shared` has the same folder, and takes ours along when it is removed."""
    init = installed / "shared" / "__init__.py"
    before = init.read_text()
    init.unlink() if content is None else init.write_text(content)
    done = python(tmp_path, "-c", "import wardround", path=installed)
    init.write_text(before)
    assert done.returncode == 1
    assert f"{init.parent} is not whole" in done.stderr
    assert "pip uninstall shared" in done.stderr
