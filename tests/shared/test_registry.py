"""What installed packages may add to a registry, and what is left out with a word."""

import sys
from pathlib import Path

import pytest

from shared.further_metrics import METRICS
from shared.registry import Registry
from shared.tasks import TASKS

GOOD = """
from typing import Literal
from shared.further_metrics.options import MetricOptions
class Good(MetricOptions):
    largest = 1.0
    name: Literal["good"]
    def problem(self, task): return None
    def values(self, job, predicted, batch): return None
"""


class Packages:
    """Installs made-up packages for one test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def install(self, package: str, source: str, point: str, group: str = METRICS.group) -> None:
        module = package.replace("-", "_")
        (self._folder / f"{module}.py").write_text(source)
        about = self._folder / f"{module}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[{group}]\n{point.replace('MODULE', module)}\n")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield Packages(tmp_path)
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == tmp_path:
            del sys.modules[name]


def anew(registry: Registry) -> Registry:
    """Return a registry that has not looked for packages yet."""
    return Registry(registry.group, tuple(dict.fromkeys(registry._built_in.values())), registry._base)


def test_a_package_adds_a_name(packages):
    packages.install("one", GOOD, "good = MODULE:Good")
    found = anew(METRICS)
    assert "good" in found
    assert found.origin("good") == " (of the package one)"


def test_of_two_packages_with_one_name_neither_is_used(packages, caplog):
    """Which comes first is the order of a folder's files, which differs between machines."""
    packages.install("one", GOOD, "good = MODULE:Good")
    packages.install("two", GOOD, "good = MODULE:Good")
    assert "good" not in anew(METRICS)
    assert "'good' of the package one and two can't be used (there are 2 of that name)" in caplog.text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import sys; sys.exit('no driver')", "no driver"),
        ("raise RuntimeError('two\\nlines')", "two\\nlines"),
        (GOOD.replace("    largest = 1.0\n", ""), "it lacks largest"),
        (GOOD.replace("def values", "def value"), "it lacks values"),
        (GOOD.replace("good", "brier").replace("Good", "Good"), "its name is 'brier'"),
        (GOOD.replace('name: Literal["good"]', "name: str"), "its name is missing"),
        ("Good = dict", "it is not a subclass of MetricOptions"),
    ],
)
def test_what_can_not_be_used_is_left_out_with_the_reason(packages, caplog, source, reason):
    packages.install("odd", source, "good = MODULE:Good")
    assert "good" not in anew(METRICS)
    assert f"of the package odd can't be used ({reason})" in caplog.text


def test_an_option_that_hides_a_method_is_refused(packages, caplog):
    source = """
from typing import Literal
from shared.tasks.classification.options import Classification
class Good(Classification):
    name: Literal["good"]
    metrics: list[str] = ["mine"]
"""
    packages.install("odd", source, "good = MODULE:Good", TASKS.group)
    with pytest.warns(UserWarning, match="shadows"):
        assert "good" not in anew(TASKS)
    assert "its option 'metrics' hides what TaskOptions has under that name" in caplog.text
