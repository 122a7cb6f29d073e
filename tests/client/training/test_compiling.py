"""A compiled network: the same bits each time, kernels kept for this user alone, plain errors."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from client.settings.policy import PolicyError, PolicyTable, check_job
from client.training.compiler import clear_kernels, compiler_problem, keep_kernels_in
from client.training.device import check_machine
from shared.errors import JobError, SiteError
from tests.cli import wardround
from tests.jobs import make_job

PROJECT = Path(__file__).parents[3]
CPU = torch.device("cpu")
TRAINING = """
import hashlib, sys
from pathlib import Path
import torch
from client.data.samples.batches import Samples
from client.work.warm_networks import Workshop
from client.training.loop import LocalTraining
from torch._dynamo.utils import counters
from tests.jobs import make_job
torch.set_num_threads(1)
job = make_job(training_compile=True, training_precision=sys.argv[2], model_norm="instance")
bench = Workshop(torch.device("cpu"), kernels=Path(sys.argv[1])).bench(job.canonical())
images = torch.randn(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))
samples = Samples(job, {"image": images, "mask": (images[:, 0] > 1).to(torch.uint8)}, patients=list("abcde"),
    keys=list("abcde"), spacings=[None] * 5)
for round_ in (1, 2):
    LocalTraining(bench.model, bench.task, samples, job, site="a", device=torch.device("cpu"),
        parameters=bench.parameters).run(round_)
    graphs = counters["stats"]["unique_graphs"]
    print(graphs, counters["inductor"]["fxgraph_cache_hit"])
print(hashlib.sha256(bench.state.pack().tobytes()).hexdigest())
"""


def train(kernels: Path, precision: str = "float32") -> tuple[list[list[int]], str]:
    """Train two rounds in a fresh process.

    Returns:
        After each round the networks compiled and those found compiled; the model's SHA-256.
    """
    command = [sys.executable, "-c", TRAINING, str(kernels), precision]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    *rounds, digest = done.stdout.split("\n")[:3]
    return [[int(number) for number in line.split()] for line in rounds], digest


@pytest.mark.slow
@pytest.mark.skipif(compiler_problem() is not None, reason="needs a C++ compiler")
def test_compiled_anew_or_found_compiled_the_bits_are_the_same(tmp_path):
    [first, second], digest = train(tmp_path / "one")
    assert first[0] == second[0] > 0  # nothing is compiled in a second round
    assert first[1] == 0
    assert (tmp_path / "one").stat().st_mode & 0o077 == 0
    [found, _], again = train(tmp_path / "one")
    assert found[1] > 0  # a second process compiles nothing
    _, elsewhere = train(tmp_path / "two")
    assert digest == again == elsewhere


def test_a_folder_that_others_may_write_to_is_refused(tmp_path):
    folder = tmp_path / "kernels"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(SiteError, match=r"kernels.*others may write to it[^$]*rm -r"):
        keep_kernels_in(folder)
    with pytest.raises(SiteError, match="others may write"):
        keep_kernels_in(folder / "below")
    link = tmp_path / "link"
    (tmp_path / "own").mkdir(mode=0o700)
    link.symlink_to(tmp_path / "own")
    with pytest.raises(SiteError, match="others may write"):
        keep_kernels_in(link)


def test_kernels_that_nobody_uses_go_and_then_those_used_longest_ago(tmp_path):
    hour, now = 3600, time.time()
    for name, hours in (("now", 0), ("today", 2), ("yesterday", 30), ("spring", 24 * 91)):
        path = tmp_path / name[:2] / f"{name}.so"
        path.parent.mkdir()
        path.write_bytes(b"0" * 10)
        os.utime(path, (now - hours * hour,) * 2)
    clear_kernels(tmp_path, days=90, size=1000)
    assert {path.stem for path in tmp_path.rglob("*.so")} == {"now", "today", "yesterday"}
    clear_kernels(tmp_path, days=90, size=20)
    assert {path.stem for path in tmp_path.rglob("*.so")} == {"now", "today"}
    clear_kernels(tmp_path, days=90, size=1)  # another process may be about to load what is new
    assert {path.stem for path in tmp_path.rglob("*.so")} == {"now"}


def test_without_a_compiler_the_job_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setenv("CXX", "/no/such/compiler")
    check_machine(make_job(), CPU, "alpha")
    with pytest.raises(SiteError, match=r"alpha: this machine has no C\+\+ compiler[^$]*apt install g\+\+"):
        check_machine(make_job(training_compile=True), CPU, "alpha")


def test_a_hospital_allows_it_or_it_is_refused():
    job = make_job(training_compile=True)
    with pytest.raises(PolicyError, match=r"policy\.compile is false"):
        check_job(PolicyTable(), job, "alpha")
    check_job(PolicyTable(compile=True), job, "alpha")


def test_private_training_is_not_compiled():
    with pytest.raises(JobError, match=r"\[training\] compile: with 'dp-sgd' hooks"):
        make_job(training_compile=True, privacy_mechanism="dp-sgd", privacy_noise_multiplier=1.0)


def test_a_job_without_it_keeps_its_digest():
    assert '"compile"' not in make_job().canonical()
    assert '"compile":true' in make_job(training_compile=True).canonical()


def test_arithmetic_that_a_machine_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    check_machine(make_job(), CPU, "alpha")
    for precision in ("bfloat16", "float16"):
        with pytest.raises(
            SiteError, match=f"alpha: the job computes in {precision}, and this machine's pro"
        ):
            check_machine(make_job(training_precision=precision), CPU, "alpha")


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", "bf16"])
def test_bfloat16_is_used_where_the_processor_has_it(monkeypatch, flag):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True})
    check_machine(make_job(training_precision="bfloat16"), CPU, "alpha")


def test_a_simulation_does_not_begin_without_a_compiler(tmp_path, quickstart):
    options = ("--set", "training.compile=true", "--out", tmp_path)
    done = wardround("simulate", quickstart, *options, environment={"CXX": "/no/such/compiler"})
    assert done.returncode == 2
    assert "this simulation: this machine has no C++ compiler" in done.stderr
    assert "apt install g++ python3-dev" in done.stderr
    assert list(tmp_path.glob("quickstart*")) == []
