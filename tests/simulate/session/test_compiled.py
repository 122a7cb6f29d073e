"""Compiled networks give the same bits however a run goes: resumed, deployed, in phases, with two workers.

To compile takes longest: the networks are the smallest, and compiled once for all these tests, and once more
at a hospital, by a compiler that remembers the same source. The other processes find them compiled, and are
forked from one that has loaded PyTorch and what compiles.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from client.training.compiler import compiler_problem
from shared.errors import JobError
from shared.job.schema import JobSpec
from simulate.federation.processes import LocalFederation
from simulate.session.session import Hospitals, start
from tests.cli import wardround
from tests.conftest import SITES
from tests.jobs import job_text, make_job
from tests.simulate.session.test_resume import CONTEXT, LOADED, run_to_the_end

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(compiler_problem() is not None, reason="needs a C++ compiler"),
]

CNN: dict[str, Any] = {
    "task_name": "classification",
    "model_channels": [4],
    "job_rounds": 2,
    "strategy_min_sites": 1,
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
SITE = SITES[0]
PASSED_ON = ("XDG_CACHE_HOME", "CXX", "REMEMBERED")
LOADED_TO_COMPILE = [
    "torch._inductor.compile_fx",
    "torch._dynamo.repro.after_dynamo",
    "torch.distributed.tensor.experimental._func_map",
    "torch.utils.cpp_extension",
    "tests.simulate.session.test_compiled",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of this user's caches, for all processes that these tests start."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        if "CXX" not in os.environ:
            patch.setenv("CXX", str(Path(__file__).with_name("remembering_compiler.sh")))
            patch.setenv("REMEMBERED", str(tmp_path_factory.mktemp("remembered")))
        with pytest.MonkeyPatch.context() as ahead:
            ahead.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")  # what is loaded ahead starts no helpers
            CONTEXT.set_forkserver_preload([*LOADED, *LOADED_TO_COMPILE])
            forkserver.ensure_running()  # no other than that of tests before, if there were any
        yield folder


@pytest.fixture(scope="module")
def federation(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFederation]:
    """Give a coordinator and a hospital that has not started yet."""
    with LocalFederation(tmp_path_factory.mktemp("f")) as running:
        running.enrol(SITE, {"discs": tiny_data})
        yield running


def in_a_process(work: Callable[..., None], *arguments: object) -> int:
    """Do something in a process that was forked before anything was compiled; returns its exit code."""
    environment = {name: value for name, value in os.environ.items() if name in PASSED_ON}
    process = CONTEXT.Process(target=with_environment, args=(environment, work, *arguments))
    process.start()
    process.join()
    return process.exitcode


def with_environment(environment: dict[str, str], work: Callable[..., None], *arguments: object) -> None:
    os.environ.update(environment)  # that of a process which was forked may be older
    work(*arguments)


def model(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def kernels(cache: Path) -> set[Path]:
    return set((cache / "wardround" / "kernels").rglob("*.so"))


def simulated(job: JobSpec, hospitals: Hospitals, out: Path) -> bytes:
    """Return the model of a simulation in one other process."""
    run = start(job, hospitals, out, "cpu", baselines=False).path
    assert in_a_process(run_to_the_end, run, job, False, None) == 0
    return model(run)


@pytest.fixture(scope="module")
def hospital(federation: LocalFederation) -> Hospitals:
    return Hospitals(files=[federation.folder / SITE / "site.toml"])


@pytest.fixture(scope="module")
def expected(cache: Path, hospital: Hospitals, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the model of the job at the hospital from one process, which compiles its network."""
    bits = simulated(make_job(**CNN), hospital, tmp_path_factory.mktemp("expected"))
    assert kernels(cache)
    return bits


def train_twice(kernels: Path, told: Path) -> None:
    """Write down, for two rounds, how many graphs were compiled and how many of them were known."""
    import torch
    from torch._dynamo.utils import counters

    from client.data.samples.batches import Samples
    from client.training.loop import LocalTraining
    from client.work.warm_networks import Workshop

    job, cpu = make_job(**CNN), torch.device("cpu")
    bench = Workshop(cpu, kernels=kernels).bench(job.canonical())
    images = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    values = {"image": images, "label": torch.tensor([0, 1, 1, 0])}
    samples = Samples(job, values, patients=list("abcd"), keys=list("abcd"), spacings=[None] * 4)
    rounds = []
    for number in (1, 2):
        training = LocalTraining(
            bench.model, bench.task, samples, job, site="a", device=cpu, parameters=bench.parameters
        )
        training.run(number)
        cached = [counters["inductor"][f"fxgraph_cache_{what}"] for what in ("hit", "miss")]
        rounds.append([counters["stats"]["unique_graphs"], *cached])
    told.write_text(json.dumps(rounds))


@pytest.mark.usefixtures("expected")
def test_another_process_compiles_nothing_and_neither_does_another_round(cache: Path, tmp_path: Path) -> None:
    folder, told = cache / "wardround" / "kernels", tmp_path / "told.json"
    assert folder.stat().st_mode & 0o077 == 0
    assert in_a_process(train_twice, folder, told) == 0
    first, second = json.loads(told.read_text())
    assert first == second
    graphs, hits, misses = first
    assert graphs > 0
    assert hits > 0
    assert misses == 0


def test_a_run_that_was_killed_and_resumed(
    expected: bytes, hospital: Hospitals, cache: Path, tmp_path: Path
) -> None:
    job = make_job(**CNN)
    path = start(job, hospital, tmp_path, "cpu", baselines=False).path
    assert in_a_process(run_to_the_end, path, job, False, 12) == -signal.SIGKILL
    assert in_a_process(run_to_the_end, path, job, True, None) == 0
    assert model(path) == expected


def test_a_real_hospital_with_kernels_of_its_own(
    expected: bytes, federation: LocalFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    federation.start(SITE)
    federation.await_sites()
    runs = federation.runs()
    name = runs.submit(make_job(**CNN))
    kinds = [event.kind for event in runs.follow(name)]
    assert kinds[-1] == "run_finished"
    assert "site_failed" not in kinds
    assert model(runs.fetch(name, tmp_path)) == expected
    assert list((federation.folder / SITE / "state" / "kernels").rglob("*.so"))
    assert not list(temporary.glob("torchinductor*/*"))  # where others could put what kernels are made of


def test_two_networks_in_phases(cache: Path, tiny_data: Path, tmp_path: Path) -> None:
    """Compiled by one process, found compiled by two workers."""
    bits = simulated(make_job(**PAIR), Hospitals(data=tiny_data), tmp_path / "one")
    compiled, job = kernels(cache), tmp_path / "pair.toml"
    job.write_text(job_text(**PAIR))
    said = wardround("simulate", job, "--data", tiny_data, "--out", tmp_path, "--workers", "2")
    assert said.returncode == 0, said.stderr
    assert model(Path(said.stdout.strip().rpartition("Run folder: ")[2])) == bits
    assert kernels(cache) == compiled


def test_a_gradient_of_a_gradient_can_not_be_compiled() -> None:
    with pytest.raises(JobError, match=r"\[task\] penalty: must be 0 with \[training\] compile"):
        make_job(**PAIR | {"task_penalty": 1.0})
