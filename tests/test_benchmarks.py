"""Every benchmark, as a quick run: it measures, prints a table and ends with its figures as JSON."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[1]
ALL = [
    path for path in sorted((PROJECT / "benchmarks").glob("*.py")) if "__main__" in path.read_text("utf-8")
]
OPTIONS = {"deployment_overhead": ["--without-flower"]}  # Flower's SuperNodes take minutes
ON_REAL_DATA = {"science", "private_accuracy", "metric_bins", "bounded_sums"}
Figures = Callable[[str], dict[str, Any]]
SCRIPTS = [path for path in ALL if path.stem not in ON_REAL_DATA]


def run(script: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [sys.executable, str(script), *options]
    return subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def figures() -> Figures:
    """Return a function that runs a benchmark, once for all tests, and returns its figures."""

    @cache
    def find(name: str) -> dict[str, Any]:
        result = run(PROJECT / "benchmarks" / f"{name}.py", "--quick", *OPTIONS.get(name, []))
        assert result.returncode == 0, result.stderr[-2000:]
        *table, last = result.stdout.strip().splitlines()
        assert any("┃" in line for line in table), "the table is missing"
        return json.loads(last)

    return find


@pytest.mark.slow
@pytest.mark.parametrize("name", [script.stem for script in SCRIPTS])
def test_a_quick_run_says_that_it_is_held_to_nothing(figures: Figures, name: str) -> None:
    one = figures(name)
    assert (one["benchmark"], one["quick"], one["missed"]) == (name, True, [])


@pytest.mark.slow
def test_both_engines_are_measured_against_bare_training(figures: Figures) -> None:
    for engine in ("Wardround", "Flower"):
        one = figures("simulation_overhead")[engine]
        assert one["overhead"] > 0.5
        assert min(one["cpu_seconds"], one["startup_seconds"], one["round_seconds"]) > 0
        assert len(one["bare_seconds"]) == len(one["overhead_of_each_run"])


@pytest.mark.slow
def test_memory_does_not_grow_with_rounds_or_sites(figures: Figures) -> None:
    one = figures("many_sites")
    assert one["growth_mib_per_round"] < 2
    few, many = one["peak_server_mib"].values()
    assert abs(many - few) < 20


@pytest.mark.slow
def test_what_a_federation_must_stand_is_measured(figures: Figures) -> None:
    assert figures("large_model")["status"] == "finished"
    assert set(figures("large_model")["copies"]) == {"ServerApp", "SuperLink", "gateway", "node", "worker"}
    assert (figures("fifty_sites")["status"], figures("fifty_sites")["failures"]) == ("finished", 0)
    [fault] = figures("faulty_network")["faults"].values()
    assert (fault["status"], fault["rounds"]) == ("finished", 2)


@pytest.mark.slow
def test_what_attacks_find_is_measured(figures: Figures) -> None:
    inversion = figures("gradient_inversion")
    assert inversion["plain update"]["ssim"] > 0.9
    assert inversion["masked (secure aggregation)"]["ssim"] < 0.3
    for training in ("plain", "epsilon 8"):
        assert set(figures("privacy_attacks")[training]["leaks"]) == {"loss threshold", "likelihood ratio"}


@pytest.mark.slow
def test_filters_send_as_little_as_they_promise(figures: Figures) -> None:
    one = figures("update_filters")
    assert one["int8"]["of_plain"] <= 0.27
    assert one["bfloat16"]["of_plain"] == one["float16"]["of_plain"] == 0.5
    assert one["top-k 5 %"]["of_plain"] <= 0.11
    assert one["upper parts"]["of_plain"] <= 0.56
    assert one["clip 2"]["of_plain"] == 1


@pytest.mark.slow
def test_changed_files_are_read_right_or_refused_in_words(figures: Figures) -> None:
    one = figures("fuzz_readers")
    assert one["findings"] == {}
    for name, format_ in one["formats"].items():
        assert min(format_["read"], format_["refused"]) > 0, name


def test_make_bench_runs_every_script() -> None:
    command = ["make", "--dry-run", "bench"]
    shown = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for script in ALL:
        assert f"benchmarks/{script.name}" in shown


@pytest.mark.parametrize("script", ALL, ids=lambda path: path.stem)
def test_help_says_what_quick_means(script: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    monkeypatch.setenv("PYTHONPATH", "")  # some set it, for what they start
    with pytest.raises(SystemExit):
        runpy.run_path(str(script), run_name="__main__")
    shown = " ".join(capsys.readouterr().out.split())
    assert "held to no figure" in shown or "no figure is held" in shown


@pytest.mark.slow
@pytest.mark.parametrize("name", ["private_accuracy"])
def test_what_runs_on_real_images(name: str, data_pack: Callable[[str], Path]) -> None:
    data_pack("skin_ham_4sites")
    result = run(PROJECT / "benchmarks" / f"{name}.py", "--quick")
    assert result.returncode == 0, result.stderr[-2000:]
    assert json.loads(result.stdout.splitlines()[-1])["private"]["mean"] > 0
