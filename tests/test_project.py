"""The project's own files: what it installs, what its pages say."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from setuptools import find_packages

from shared.job.template import TABLES_BEGIN, job_tables

PROJECT = Path(__file__).parents[1]
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")])


@pytest.fixture(scope="module")
def pyproject() -> dict[str, object]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pins() -> dict[str, Version]:
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_every_dependency_is_pinned_to_a_version_that_fits(
    pyproject: dict[str, dict[str, object]], pins: dict[str, Version]
) -> None:
    project = pyproject["project"]
    wanted = [
        *project["dependencies"],
        *(item for group in project["optional-dependencies"].values() for item in group),
    ]
    for requirement in map(Requirement, wanted):
        if requirement.name != "wardround":
            assert pins[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_version_is_the_same_everywhere(pyproject: dict[str, dict[str, object]]) -> None:
    version = re.escape(str(pyproject["project"]["version"]))
    for file, line in {
        "CITATION.cff": f"version: {version}",
        "deploy/helm/Chart.yaml": f'version: {version}\nappVersion: "{version}"',
        "deploy/kubernetes/site.yaml": f" image: wardround-site:{version}",
        "deploy/kubernetes/coordinator.yaml": f" image: wardround-coordinator:{version}",
        "deploy/kubernetes/training.yaml": f" image: wardround-site:{version}",
    }.items():
        assert re.search(f"{line}$", (PROJECT / file).read_text(encoding="utf-8"), re.MULTILINE), file


def test_pins_have_no_local_suffix(pins: dict[str, Version]) -> None:
    assert [name for name, version in pins.items() if version.local] == []


def test_every_pin_is_locked_by_its_files(pins: dict[str, Version]) -> None:
    """`make lock` renews it."""
    text = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    entries = [entry.split() for entry in re.split(r"\n(?=\S)", text.strip())]
    hashes = "--hash=sha256:"
    locked = {name: [word for word in words if word.startswith(hashes)] for name, *words in entries}
    pairs = dict(name.split("==") for name in locked)
    assert {canonicalize_name(name): Version(version) for name, version in pairs.items()} == pins
    assert all(locked.values())


def test_an_installed_wardround_has_every_module(pyproject: dict[str, dict[str, dict]]) -> None:
    found = find_packages(
        str(PROJECT), include=pyproject["tool"]["setuptools"]["packages"]["find"]["include"]
    )
    tops = {name for name in found if "." not in name}
    assert tops == {"shared", "client", "server", "simulate", "wardround"}
    for top in tops:
        for module in (PROJECT / top).rglob("*.py"):
            assert ".".join(module.parent.relative_to(PROJECT).parts) in found, f"{module} is not installed"


def test_the_page_on_jobs_is_up_to_date() -> None:
    page = (PROJECT / "docs" / "job.md").read_text(encoding="utf-8")
    assert page.partition(TABLES_BEGIN)[2].strip() == job_tables().strip(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
