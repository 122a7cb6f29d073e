"""The same job gives the same model, whatever runs it, whoever answers first, and whatever is killed."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "simulate", *(str(argument) for argument in arguments)]


def simulate(*arguments: str | Path) -> Path:
    """Run the command to its end and return the run's folder."""
    result = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder_of(result.stdout)


def folder_of(output: str) -> Path:
    return Path(output.strip().rpartition("Run folder: ")[2])


def model(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def expected(tiny_data, write_job, tmp_path_factory) -> tuple[Path, bytes]:
    """Return the tiny job as a file, and the model that it gives in one process."""
    folder = tmp_path_factory.mktemp("expected")
    job = write_job(folder / "tiny.toml")
    run = simulate(job, "--data", tiny_data, "--out", folder, "--workers", "in-process")
    return job, model(run)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2", "ray:2"])
def test_any_workers_give_the_same_bits(expected, tiny_data, tmp_path, workers):
    if workers.startswith("ray"):
        pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    job, bits = expected
    assert model(simulate(job, "--data", tiny_data, "--out", tmp_path, "--workers", workers)) == bits


def started(arguments: list[str], until: str) -> tuple[subprocess.Popen[str], str]:
    """Start a command and return once it has printed a line that matches."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if re.match(until, line):
            return process, said
    raise AssertionError(f"it ended before '{until}': {said}{process.communicate()[1]}")


@pytest.mark.slow
def test_kill_9_leaves_no_process_and_the_run_resumes(expected, tiny_data, tmp_path):
    job, bits = expected
    arguments = command(job, "--data", tiny_data, "--out", tmp_path, "--workers", "2")
    process, _ = started(arguments, "round 1/")
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    run = next(tmp_path.glob("tiny-*"))
    assert simulate("--resume", run, "--workers", "2") == run
    assert model(run) == bits


@pytest.mark.slow
def test_a_killed_worker_is_replaced(expected, tiny_data, tmp_path):
    job, bits = expected
    arguments = command(job, "--data", tiny_data, "--out", tmp_path, "--workers", "2")
    process, said = started(arguments, "round 1/")
    os.kill(max(child.pid for child in psutil.Process(process.pid).children()), signal.SIGKILL)
    out, error = process.communicate()
    assert process.returncode == 0, error
    assert model(folder_of(said + out)) == bits


@pytest.mark.slow
def test_ctrl_c_ends_with_one_line_and_can_be_resumed(expected, tiny_data, tmp_path):
    job, bits = expected
    arguments = command(job, "--data", tiny_data, "--out", tmp_path, "--workers", "1")
    process, _ = started(arguments, "round 1/")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert error.strip() == "interrupted"
    run = next(tmp_path.glob("tiny-*"))
    simulate("--resume", run, "--workers", "1")
    assert model(run) == bits
