"""A compiled network: kernels kept for this user alone, plain errors; its bits are tested in simulations."""

import os
import time

import pytest
import torch

from client.settings.policy import PolicyError, PolicyTable, check_job
from client.training.compiler import clear_kernels, keep_kernels_in
from client.training.device import check_machine
from shared.errors import JobError, SiteError
from tests.cli import wardround
from tests.jobs import make_job

CPU = torch.device("cpu")


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
