"""The drill of every operator: the coordinator's machine is gone, and comes back from its backup."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simulate.federation import LocalFederation

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]


def server(*arguments: object) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "wardround", "server", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def run_a_job(federation: LocalFederation, job) -> None:
    runs = federation.runs()
    name = runs.submit(job)
    assert list(runs.follow(name))[-1].kind == "run_finished"


def test_a_coordinator_that_is_gone_comes_back_from_its_backup(tiny_data: Path, tiny_job, tmp_path) -> None:
    job, backup = tiny_job(job_rounds=1, strategy_min_sites=1), tmp_path / "backup.tar.gz"
    with LocalFederation(tmp_path / "federation") as federation:
        coordinator = federation.folder / "coordinator"
        federation.enroll("alpha", {"discs": tiny_data})
        federation.start("alpha")
        federation.await_sites()
        run_a_job(federation, job)
        server("backup", backup, "--include-keys", "--dir", coordinator)
        federation.processes["coordinator"].kill()
        federation.processes["coordinator"].wait()
        shutil.rmtree(coordinator)
        server("restore", backup, coordinator)
        server("audit", "verify", "--dir", coordinator)
        federation.start_coordinator()
        federation.await_sites()  # it has joined once and for all
        run_a_job(federation, job)
