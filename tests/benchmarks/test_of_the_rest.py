"""A quick run of each benchmark of training, attacks and files; what all have in common."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks.scripts import ALL, FEDERATIONS, OTHERS, PROJECT, SIMULATIONS, run


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_a_quick_run_says_that_it_is_held_to_nothing(figures, name: str) -> None:
    assert figures(name)


@pytest.mark.slow
def test_what_attacks_find_is_measured(figures) -> None:
    inversion = figures("gradient_inversion")
    assert inversion["plain update"]["ssim"] > 0.9
    assert inversion["masked (secure aggregation)"]["ssim"] < 0.3
    for training in ("plain", "epsilon 8"):
        assert set(figures("privacy_attacks")[training]["leaks"]) == {"loss threshold", "likelihood ratio"}


@pytest.mark.slow
def test_changed_files_are_read_right_or_refused_in_words(figures) -> None:
    one = figures("fuzz_readers")
    assert one["findings"] == {}
    for name, format_ in one["formats"].items():
        assert min(format_["read"], format_["refused"]) > 0, name


def test_those_that_are_named_are_there() -> None:
    assert {*FEDERATIONS, *SIMULATIONS} <= {script.stem for script in ALL}


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
    result = run(name)
    assert result.returncode == 0, result.stderr[-2000:]
    assert json.loads(result.stdout.splitlines()[-1])["private"]["mean"] > 0
