"""Compiled networks give the same bits however a run goes: several workers, resumed, deployed, in phases.

One network is compiled for all these tests; each process finds it compiled.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.training.compiler import compiler_problem
from shared.errors import JobError
from shared.job.schema import load_job
from simulate.federation.processes import LocalFederation
from simulate.session.session import Hospitals, start
from tests.conftest import SITES
from tests.jobs import job_text, make_job

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(compiler_problem() is not None, reason="needs a C++ compiler"),
]

CNN: dict[str, Any] = {"task_name": "classification", "job_rounds": 2, "training_compile": True}
PAIR: dict[str, Any] = {
    "task_name": "generation",
    "task_penalty": 0.0,
    "model_generator": {"name": "generator", "channels": [4, 8]},
    "model_discriminator": {"name": "discriminator", "channels": [4, 8]},
    "job_rounds": 1,
    "training_compile": True,
}
KILLED = """
import sys
from pathlib import Path
from shared.job.schema import load_job
from tests.simulate.session.test_resume import run_to_the_end
path, job, moment = Path(sys.argv[1]), load_job(Path(sys.argv[2])), int(sys.argv[3])
run_to_the_end(path, job, resume=not moment, moment=moment or None)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of this user's caches, for all processes that these tests start."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def simulated(job: Path, *hospitals: Path, out: Path, workers: str = "in-process") -> bytes:
    """Return the model of a run, on a manifest or on the settings of hospitals."""
    files = [part for path in hospitals for part in ("--site" if path.suffix == ".toml" else "--data", path)]
    command = [sys.executable, "-m", "simulate", job, *files, "--out", out, "--workers", workers]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return (Path(done.stdout.strip().rpartition("Run folder: ")[2]) / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def expected(cache: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """Return a job as a file, and its model from one process, which compiles its network."""
    folder = tmp_path_factory.mktemp("expected")
    job = folder / "job.toml"
    job.write_text(job_text(**CNN))
    model = simulated(job, tiny_data, out=folder)
    assert list((cache / "wardround" / "kernels").rglob("*.so"))
    return job, model


def test_two_workers(expected: tuple[Path, bytes], tiny_data: Path, tmp_path: Path) -> None:
    job, model = expected
    assert simulated(job, tiny_data, out=tmp_path, workers="2") == model


def test_a_run_that_was_killed_and_resumed(
    expected: tuple[Path, bytes], tiny_data: Path, tmp_path: Path
) -> None:
    job, model = expected
    path = start(load_job(job), Hospitals(data=tiny_data), tmp_path, "cpu", baselines=False).path
    codes = [
        subprocess.run([sys.executable, "-c", KILLED, path, job, moment], check=False).returncode
        for moment in ("12", "0")
    ]
    assert codes == [-signal.SIGKILL, 0]
    assert (path / "model.safetensors").read_bytes() == model


def test_real_hospitals(
    expected: tuple[Path, bytes],
    cache: Path,
    tiny_data: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Each has kernels of its own, here given to it; its split is that of the simulation."""
    job, spec = expected[0], load_job(expected[0])
    with LocalFederation(tmp_path_factory.mktemp("f")) as federation:
        for site in SITES[:3]:
            folder = federation.enrol(site, {"discs": tiny_data})
            shutil.copytree(cache / "wardround" / "kernels", folder / "state" / "kernels")
            federation.start(site)
        federation.await_sites()
        runs = federation.runs()
        name = runs.submit(spec)
        kinds = [event.kind for event in runs.follow(name)]
        assert kinds[-1] == "run_finished"
        assert "site_failed" not in kinds
        deployed = (runs.fetch(name, tmp_path / "fetched") / "model.safetensors").read_bytes()
        hospitals = [federation.folder / site / "site.toml" for site in SITES[:3]]
        assert simulated(job, *hospitals, out=tmp_path) == deployed


def test_two_networks_in_phases(cache: Path, tiny_data: Path, tmp_path: Path) -> None:
    """Compiled by one process, found compiled by two workers."""
    job = tmp_path / "pair.toml"
    job.write_text(job_text(**PAIR))
    model = simulated(job, tiny_data, out=tmp_path)
    assert simulated(job, tiny_data, out=tmp_path, workers="2") == model


def test_a_gradient_of_a_gradient_can_not_be_compiled() -> None:
    with pytest.raises(JobError, match=r"\[task\] penalty: must be 0 with \[training\] compile"):
        make_job(**PAIR | {"task_penalty": 1.0})
