"""Compiled networks give the same bits however a run goes: resumed, deployed, in phases, with two workers.

To compile takes longest: the networks are the smallest, and compiled once for all these tests, and once more
at a hospital. The other processes find them compiled.
"""

import os
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
from shared.job.schema import JobSpec, load_job
from simulate.federation.processes import LocalFederation
from simulate.session.session import Hospitals, start
from tests.conftest import SITES
from tests.jobs import job_text, make_job
from tests.simulate.session.test_resume import CONTEXT, run_to_the_end

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(compiler_problem() is not None, reason="needs a C++ compiler"),
]

PROJECT = Path(__file__).parents[3]
CNN: dict[str, Any] = {
    "task_name": "classification",
    "model_channels": [4],
    "job_rounds": 2,
    "strategy_min_sites": 2,
    "training_compile": True,
}
PAIR: dict[str, Any] = {
    "task_name": "generation",
    "task_penalty": 0.0,
    "model_generator": {"name": "generator", "channels": [4]},
    "model_discriminator": {"name": "discriminator", "channels": [4]},
    "job_rounds": 1,
    "training_compile": True,
}
HOSPITALS = SITES[:2]
TRAINING = """
import sys
from pathlib import Path
import torch
from client.data.samples.batches import Samples
from client.work.warm_networks import Workshop
from client.training.loop import LocalTraining
from torch._dynamo.utils import counters
from shared.job.schema import load_job
torch.set_num_threads(1)
job = load_job(Path(sys.argv[2]))
bench = Workshop(torch.device("cpu"), kernels=Path(sys.argv[1])).bench(job.canonical())
images = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
samples = Samples(job, {"image": images, "label": torch.tensor([0, 1, 1, 0])}, patients=list("abcd"),
    keys=list("abcd"), spacings=[None] * 4)
for round_ in (1, 2):
    LocalTraining(bench.model, bench.task, samples, job, site="a", device=torch.device("cpu"),
        parameters=bench.parameters).run(round_)
    cached = [counters["inductor"][f"fxgraph_cache_{what}"] for what in ("hit", "miss")]
    print(counters["stats"]["unique_graphs"], *cached)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of this user's caches, for all processes that these tests start."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def federation(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFederation]:
    """Give a coordinator and hospitals that have not started yet."""
    with LocalFederation(tmp_path_factory.mktemp("f")) as running:
        for site in HOSPITALS:
            running.enrol(site, {"discs": tiny_data})
        yield running


def simulated(job: Path, *hospitals: Path, out: Path, workers: str = "in-process") -> Path:
    """Run a simulation on a manifest or on the settings of hospitals; returns the run's folder."""
    files = [part for path in hospitals for part in ("--site" if path.suffix == ".toml" else "--data", path)]
    command = [sys.executable, "-m", "wardround", "simulate", job, *files, "--out", out, "--workers", workers]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.strip().rpartition("Run folder: ")[2])


def model(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def expected(
    cache: Path, federation: LocalFederation, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, bytes]:
    """Return a job as a file, and its model at the hospitals from one process, which compiles its network."""
    folder = tmp_path_factory.mktemp("expected")
    job = folder / "job.toml"
    job.write_text(job_text(**CNN))
    run = simulated(job, *settings(federation), out=folder)
    assert list((cache / "wardround" / "kernels").rglob("*.so"))
    return job, model(run)


def test_another_process_compiles_nothing_and_neither_does_another_round(
    expected: tuple[Path, bytes], cache: Path
) -> None:
    job, kernels = expected[0], cache / "wardround" / "kernels"
    assert kernels.stat().st_mode & 0o077 == 0
    command = [sys.executable, "-c", TRAINING, kernels, job]
    done = subprocess.run(list(map(str, command)), cwd=PROJECT, capture_output=True, text=True, check=True)
    first, second = ([int(number) for number in line.split()] for line in done.stdout.splitlines())
    assert first == second
    graphs, hits, misses = first
    assert graphs > 0
    assert hits > 0
    assert misses == 0


def settings(federation: LocalFederation) -> list[Path]:
    return [federation.folder / site / "site.toml" for site in HOSPITALS]


def go_on(cache: Path, run: Path, job: JobSpec, moment: int | None) -> None:
    os.environ["XDG_CACHE_HOME"] = str(cache)  # of a process that may have been forked from an older one
    run_to_the_end(run, job, resume=moment is None, moment=moment)


def test_a_run_that_was_killed_and_resumed(
    expected: tuple[Path, bytes], federation: LocalFederation, cache: Path, tmp_path: Path
) -> None:
    job, bits = expected
    spec = load_job(job)
    path = start(spec, Hospitals(files=settings(federation)), tmp_path, "cpu", baselines=False).path
    for moment, code in ((12, -signal.SIGKILL), (None, 0)):
        process = CONTEXT.Process(target=go_on, args=(cache, path, spec, moment))
        process.start()
        process.join()
        assert process.exitcode == code
    assert model(path) == bits


def test_real_hospitals(
    expected: tuple[Path, bytes], federation: LocalFederation, cache: Path, tmp_path: Path
) -> None:
    """Each has kernels of its own: one compiles them, the other has them from before."""
    job, bits = expected
    shutil.copytree(cache / "wardround" / "kernels", federation.folder / HOSPITALS[0] / "state" / "kernels")
    for site in HOSPITALS:
        federation.start(site)
    federation.await_sites()
    runs = federation.runs()
    name = runs.submit(load_job(job))
    kinds = [event.kind for event in runs.follow(name)]
    assert kinds[-1] == "run_finished"
    assert "site_failed" not in kinds
    assert model(runs.fetch(name, tmp_path)) == bits


def test_two_networks_in_phases(cache: Path, tiny_data: Path, tmp_path: Path) -> None:
    """Compiled by one process, found compiled by two workers."""
    job = tmp_path / "pair.toml"
    job.write_text(job_text(**PAIR))
    bits = model(simulated(job, tiny_data, out=tmp_path))
    assert model(simulated(job, tiny_data, out=tmp_path, workers="2")) == bits


def test_a_gradient_of_a_gradient_can_not_be_compiled() -> None:
    with pytest.raises(JobError, match=r"\[task\] penalty: must be 0 with \[training\] compile"):
        make_job(**PAIR | {"task_penalty": 1.0})
