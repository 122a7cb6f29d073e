"""The drill of every operator: the coordinator's machine is gone, and comes back from its backup."""

import shutil
from pathlib import Path

import pytest

from simulate.federation.processes import LocalFederation
from tests.cli import wardround

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[3]


def server(*arguments: object) -> None:
    ended = wardround("server", *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def run_a_job(federation: LocalFederation, job) -> None:
    runs = federation.runs()
    name = runs.submit(job)
    assert list(runs.follow(name))[-1].kind == "run_finished"


@pytest.fixture
def odd_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name a URI must quote, where a proxy is set that knows no way to this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return tmp_path_factory.mktemp("odd") / "100%20 #1?ä"


def test_a_coordinator_that_is_gone_comes_back_from_its_backup(
    tiny_data: Path, tiny_job, tmp_path: Path, odd_machine: Path
) -> None:
    job, backup = tiny_job(job_rounds=1, strategy_min_sites=1), tmp_path / "backup.tar.gz"
    odd_machine.mkdir()
    with LocalFederation(odd_machine) as federation:
        coordinator = federation.folder / "coordinator"
        federation.enrol("alpha", {"discs": tiny_data})
        federation.start("alpha")
        federation.await_sites()
        run_a_job(federation, job)
        server("backup", backup, "--include-key", "--dir", coordinator)
        federation.processes["coordinator"].kill()
        federation.processes["coordinator"].wait()
        shutil.rmtree(coordinator)
        server("restore", backup, coordinator)
        server("audit", "verify", "--dir", coordinator)
        federation.start_coordinator()
        federation.await_sites()  # it has joined once and for all
        run_a_job(federation, job)
