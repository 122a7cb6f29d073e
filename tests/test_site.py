"""The documentation site: it builds without a broken link, and its pages say what is true."""

import ast
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import numpy as np
import pytest
import typer
from PIL import Image

from tests.cli import wardround
from wardround.cli import app

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
SOURCES = [
    path
    for side in ("shared", "client", "server", "simulate", "wardround")
    for path in (PROJECT / side).rglob("*.py")
]


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; a link or an anchor that leads nowhere is an error."""
    pytest.importorskip("mkdocs", reason="needs the extra 'docs'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return out


def test_every_page_is_in_the_navigation_and_in_the_list() -> None:
    for page in DOCS.glob("*.md"):
        assert f": {page.name}\n" in (PROJECT / "mkdocs.yml").read_text(encoding="utf-8")
        assert page.stem == "README" or f"]({page.name})" in read("README.md"), page.name


@pytest.mark.slow
def test_every_page_is_there_and_leads_to_the_others(site: Path) -> None:
    for page in DOCS.glob("*.md"):
        name = "index.html" if page.stem == "README" else f"{page.stem}.html"
        assert (site / name).is_file()
    assert "From nothing to a first result" in (site / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_nothing_comes_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        found = re.findall(
            r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"|<link[^>]+href="(https?:[^"]+)"[^>]*stylesheet',
            text,
        )
        assert found == [], page


@pytest.mark.slow
def test_the_reference_has_what_python_has(site: Path) -> None:
    import wardround as package

    text = (site / "api.html").read_text(encoding="utf-8")
    for name in package.__all__:
        if name != "WardroundError":
            assert f'id="wardround.{name}"' in text, name


@pytest.mark.slow
def test_notebooks_are_pages(site: Path) -> None:
    for notebook in (DOCS / "notebooks").glob("*.ipynb"):
        text = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        assert "wardround" in text
        assert (site / "notebooks" / notebook.name).is_file()


def test_what_the_code_of_a_notebook_gives_stands_below_it(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra 'docs'")
    spec = importlib.util.spec_from_file_location("site_pages", DOCS / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    outputs = [
        {"output_type": "stream", "text": ["round 1/2\n", "round 2/2\n"]},
        {
            "output_type": "execute_result",
            "data": {"text/html": ["<style>x</style>\n<table>\n  <tr></tr>\n</table>"]},
        },
        {"output_type": "display_data", "data": {"image/png": "QUJD\n", "text/plain": ["<Image>"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["look()"], "outputs": outputs},
        {"cell_type": "markdown", "source": ["[next](own-data.ipynb)"]},
    ]
    (tmp_path / "some.ipynb").write_text(json.dumps({"cells": cells}))
    assert pages.notebook_page(tmp_path / "some.ipynb").split("\n\n") == [
        "# Title",
        "As a notebook to run: [some.ipynb](some.ipynb).",
        "```python\nlook()\n```",
        "```text\nround 1/2\nround 2/2\n```",
        "<table><tr></tr></table>",
        '<img alt="what the cell draws" src="data:image/png;base64,QUJD">',
        "[next](own-data.md)\n",
    ]


def commands(page: str) -> list[str]:
    """Return the commands of a page's blocks; what is printed stands in blocks marked as text."""
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", read(page), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for kind, block in blocks if not kind for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.startswith("wardround ")]


@pytest.fixture(scope="module")
def own_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an otherwise empty folder with the images that the page on first results begins with."""
    folder, generator = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    for part in ("my-images/images", "my-images/masks", "new-images"):
        (folder / part).mkdir(parents=True)
    for patient in range(24):
        for index in (1, 2):
            mask = np.zeros((32, 32), np.uint8)
            y, x = generator.integers(4, 20, 2)
            mask[y : y + 9, x : x + 8] = 255
            image = (generator.normal(80, 10, (32, 32)) + 0.4 * mask).clip(0, 255).astype(np.uint8)
            name = f"{'abcdefghijklmnopqrstuvwxyz'[patient]}nna_{index}.png"
            Image.fromarray(image).save(folder / "my-images/images" / name)
            Image.fromarray(mask).save(folder / "my-images/masks" / name)
    Image.fromarray(image).save(folder / "new-images" / "new.png")
    return folder


@pytest.mark.slow
def test_the_commands_of_a_first_result_run_in_an_empty_folder(own_images: Path) -> None:
    """They are a page of one story: in their order, with one round instead of twenty."""
    typed = commands("first-result.md")
    assert [line.split()[1] for line in typed[:3]] == ["data", "job", "simulate"]  # three commands
    for line in typed:
        words = shlex.split(line)[1:]
        if words[0] == "simulate":
            words += ["--rounds", "1", "--workers", "in-process"]
        if words[0] == "predict":
            runs = sorted((own_images / "runs").iterdir())
            words[1] = str(runs[0])
        ended = wardround(*words, cwd=own_images)
        assert ended.returncode == 0, f"{line}\n{ended.stderr}"
    first = sorted((own_images / "runs").iterdir())[0]
    assert "<svg" in (first / "report.html").read_text(encoding="utf-8")
    assert (own_images / "predictions" / "index.html").is_file()


@pytest.mark.slow
def test_what_hospital_it_can_try_runs_in_an_empty_folder(tmp_path: Path) -> None:
    for line in commands("for-hospital-it.md"):
        ended = wardround(*shlex.split(line)[1:], cwd=tmp_path)
        assert ended.returncode == 0, f"{line}\n{ended.stderr}"


def spoken_of(page: Path) -> Iterator[list[str]]:
    """Give the words of every command that a page names, in a block or within a sentence."""
    text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
    for command in re.findall(r"(?:^|`) *(wardround [a-z][^`\n|]*)", text, re.MULTILINE):
        if "\\n" not in command:  # the first line of a file
            yield command.partition("  #")[0].split()[1:]


@cache
def tree() -> click.Command:
    """Return all that there is."""
    return typer.main.get_command(app)


def fault(words: list[str]) -> str | None:
    """Return which word of a command there is not; what the user puts in is not looked at."""
    command: click.Command = tree()
    while isinstance(command, click.Group):
        if not words or words[0] in ("...", "…") or words[0].startswith("-"):
            break  # of several commands
        word, *words = words
        if word.rstrip(",.;:") not in command.commands:
            return word
        command = command.commands[word.rstrip(",.;:")]
    known = {option for parameter in command.params for option in parameter.opts} | {"-h", "--help"}
    given = [word.strip("[],.;:()").partition("=")[0] for word in words]
    return next((word for word in given if word.startswith("--") and word not in known), None)


@pytest.mark.parametrize("page", [*DOCS.glob("*.md"), PROJECT / "README.md"], ids=lambda path: path.name)
def test_every_command_that_a_page_names_is_there(page: Path) -> None:
    assert [(words, wrong) for words in spoken_of(page) if (wrong := fault(words))] == []


@pytest.mark.parametrize("command", ["runs --everything", "job renew x", "sumbit x.toml"])
def test_a_command_that_is_not_there_is_found(command: str) -> None:
    assert fault(command.split())


def fixed_texts() -> list[str]:
    """Return the texts of the source; what is filled in is left out."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_troubleshooting_has_messages_as_they_are() -> None:
    headings = re.findall(r"^- \*\*(`.*?`)\*\*: ", read("troubleshooting.md"), re.MULTILINE)
    messages = [message for heading in headings for message in re.findall(r"`([^`]+)`", heading)]
    assert len(messages) > 25
    texts = fixed_texts()
    for message in messages:
        pattern = ".*".join(re.escape(part) for part in message.strip("… ").split("…"))
        assert any(re.search(pattern, text, re.DOTALL) for text in texts), message


def test_the_page_on_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    [block] = re.findall(r"^```python\n(.*?)^```$", read("python.md"), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block, "python.md", "exec"), names)  # noqa: S102 (our own page)
    assert len(names["said"].table) > 0  # type: ignore[attr-defined]
    assert (tmp_path / "predictions" / "index.html").is_file()
