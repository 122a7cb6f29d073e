"""`wardround.extend`: everything that an outside package needs, from one place."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wardround import extend

PROJECT = Path(__file__).parents[2]
PACKAGES = sorted((PROJECT / "tests" / "plugin").glob("*.py"))
PAGES = ("docs/extending.md", "docs/strategies.md", "docs/tasks.md")


def typed() -> dict[str, str]:
    """Return where a type checker finds each name."""
    tree = ast.parse(Path(extend.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        {"_Field": "SampleField"}.get(alias.asname or alias.name, alias.name): node.module or ""
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_a_type_checker_sees_what_runs() -> None:
    assert typed() == extend._MODULES


@pytest.mark.parametrize("name", extend.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(extend, name) is not None
    assert name in dir(extend)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Taks'"):
        _ = extend.Taks


def test_options_load_no_pytorch() -> None:
    options = [name for name in extend.__all__ if name.endswith(("Options", "Spec"))]
    script = f"import sys\nfrom wardround.extend import {', '.join(options)}\nprint('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.name)
def test_packages_need_nothing_else_of_ours(path: Path) -> None:
    found = re.findall(r"^\s*(?:from|import) (\w+)[\w.]*", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert not set(found) & {"shared", "client", "server", "simulate"}


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_need_nothing_else_of_ours(page: str) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8")
    assert not re.findall(r"^\s*(?:from|import) (?:shared|client|server|simulate)\b.*", text, re.MULTILINE)
    for imported in re.findall(r"from wardround\.extend import ([\w, ]+)", text):
        assert {name.strip() for name in imported.split(",")} <= set(extend.__all__)
