"""A run of any strategy finishes; killed at any moment and resumed, it ends with the same model."""

import io
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from server.runs.folder import RunFolder
from shared.run_folder import status_of
from shared.strategies import STRATEGIES
from simulate.session.session import Hospitals, execute, start

STEP = 14  # writes
# Those keep what 'fedbn' or 'ditto' keep, or like 'fedavg' and 'fedmedian' nothing.
KEEP_WHAT_OTHERS_KEEP = {"fedper", "fedrep", "fedsam", "bulyan", "normbound", "rfa", "qfedavg", "cyclic"} | {
    "apfl",
    "moon",
    "swarm",
    "fedbuff",
}
LOADED = [
    "client.work.loaded_ahead",  # first: it loads PyTorch and MONAI in half of the time
    "simulate.session.session",
    "simulate.session.hospitals",
    "server.report.one_run",
    "server.report.render",
    "shared.tasks.segmentation.task",
    "tests.simulate.session.test_resume",  # which says what a process does
]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(LOADED)


def kill_at(folder: Path, moment: int) -> None:
    """Kill this process when it touches the run's folder for the `moment`-th time, before it does."""
    seen = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal seen
        writes = event == "open" and len(arguments) > 2 and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event == "os.rename") and str(arguments[0]).startswith(str(folder)):
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def run_to_the_end(path: Path, job, resume: bool, moment: int | None) -> None:
    run = RunFolder.open(path, job)
    if moment is not None:
        kill_at(path, moment)
    execute(run, "in-process", Console(file=io.StringIO()), resume=resume)


def in_a_process(path: Path, job, *, resume: bool, moment: int | None = None) -> int:
    process = CONTEXT.Process(target=run_to_the_end, args=(path, job, resume, moment))
    process.start()
    process.join()
    return process.exitcode


def through_kills(path: Path, job, moment: int, step: int) -> int:
    """Run to the end, killed at a moment and again each `step` writes later; returns how often."""
    kills = 0
    while (code := in_a_process(path, job, resume=kills > 0, moment=moment)) != 0:
        assert code == -signal.SIGKILL
        kills += 1
        moment += step
        if status_of(path) == "finished":  # killed with nothing but its report to write
            break
    return kills


def new_run(job, data: Path, out: Path, *, baselines: bool = False) -> Path:
    return start(job, Hospitals(data=data), out, "cpu", baselines=baselines).path


def outcome(path: Path, *besides: str) -> dict[str, bytes]:
    """What must not depend on how often the run was killed: models and tables, without some columns."""
    found = {name: (path / name).read_bytes() for name in ("model.safetensors", "best.safetensors")}
    for name in ("metrics.csv", "sites.csv"):  # without the column of seconds
        header, *rows = [line.split(",") for line in (path / name).read_text().splitlines()]
        found[name] = repr(
            [[c for h, c in zip(header, row, strict=True) if h not in {"seconds", *besides}] for row in rows]
        ).encode()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STRATEGIES if name not in KEEP_WHAT_OTHERS_KEEP])
def test_killed_and_resumed_as_if_never_stopped(name, tiny_job, tiny_data, tmp_path):
    job = tiny_job(strategy_name=name, job_rounds=2)
    whole = new_run(job, tiny_data, tmp_path / "whole")
    run_to_the_end(whole, job, resume=False, moment=None)
    assert status_of(whole) == "finished"
    tensors = load_file(whole / "model.safetensors")
    assert tensors
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    expected = outcome(whole)

    # Each attempt may make STEP writes more than the one before, until one gets through; the strategies begin
    # one write apart, so that together they are killed after every number of writes.
    path = new_run(job, tiny_data, tmp_path / "killed")
    assert through_kills(path, job, 2 + list(STRATEGIES).index(name) % STEP, STEP) >= 2
    assert outcome(path) == expected


@pytest.mark.slow
def test_what_compression_left_out_outlives_a_kill(tiny_job, tiny_data, tmp_path):
    job = tiny_job(update_compression="top-k", update_keep=0.1)
    whole = new_run(job, tiny_data, tmp_path / "whole")
    run_to_the_end(whole, job, resume=False, moment=None)
    assert not (whole / "kept").exists()  # a run that has finished is not resumed

    path = new_run(job, tiny_data, tmp_path / "killed")
    moment, kills = 36, 0
    while (code := in_a_process(path, job, resume=kills > 0, moment=moment)) != 0:
        assert code == -signal.SIGKILL
        assert kills > 0 or any((path / "kept").rglob("*.safetensors"))
        kills += 1
        moment += 10
        if status_of(path) == "finished":
            break
    assert kills >= 2
    assert outcome(path) == outcome(whole)
