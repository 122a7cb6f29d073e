"""The same job gives the same model, whatever runs it, whoever answers first, and whatever is killed."""

import csv
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from shared.job.schema import load_job
from shared.run_folder import status_of
from simulate.session.session import Hospitals, start
from tests.cli import wardround
from tests.jobs import job_text


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "wardround", "simulate", *(str(argument) for argument in arguments)]


def simulate(*arguments: str | Path) -> Path:
    """Run the command to its end, in this process, and return the run's folder."""
    result = wardround("simulate", *arguments, environment={"COLUMNS": "500"})
    assert result.returncode == 0, result.stderr
    return folder_of(result.stdout)


def folder_of(output: str) -> Path:
    return Path(output.strip().rpartition("Run folder: ")[2])


def model(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def expected(tiny_data, tmp_path_factory) -> tuple[Path, bytes]:
    """Return the tiny job as a file, and the model that it gives in one process."""
    folder = tmp_path_factory.mktemp("expected")
    job = folder / "tiny.toml"
    job.write_text(job_text())
    run = simulate(job, "--data", tiny_data, "--out", folder, "--workers", "in-process")
    return job, model(run)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["2", "ray:2"])
def test_any_workers_give_the_same_bits(expected, tiny_data, tmp_path, workers):
    """Of one worker process a deployed run says it: it has one at each hospital."""
    if workers.startswith("ray"):
        pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    job, bits = expected
    assert model(simulate(job, "--data", tiny_data, "--out", tmp_path, "--workers", workers)) == bits


@pytest.fixture(scope="module")
def sampled(tiny_data, tmp_path_factory) -> tuple[Path, bytes, str]:
    """Return a job that half of the sites train each round, its model, and a site that begins later."""
    folder = tmp_path_factory.mktemp("sampled")
    job = folder / "tiny.toml"
    job.write_text(job_text(strategy_min_sites=2, strategy_fraction=0.5))
    run = simulate(job, "--data", tiny_data, "--out", folder, "--workers", "in-process")
    with (run / "sites.csv").open(newline="") as file:
        trained = [
            (int(row["round"]), row["site"]) for row in csv.DictReader(file) if row["phase"] == "train"
        ]
    early = {site for round_, site in trained if round_ == 1}
    return job, model(run), next(site for _, site in trained if site not in early)


@pytest.fixture
def in_the_middle(sampled, tiny_data, tmp_path, hold_images):
    """A simulation that is held while a worker trains, after the first round, and what holds it."""
    job, _, site = sampled
    run = start(load_job(job), Hospitals(data=tiny_data), tmp_path, "cpu", baselines=False)
    held = hold_images(site, "train")  # the data have been checked, which reads them too
    arguments = command("--resume", run.path, "--workers", "2")
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any(line.startswith("round 1/3") for line in process.stdout)
    yield process, held.meet(process.pid), held
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_kill_9_leaves_no_process_and_the_run_resumes(
    sampled, in_the_middle, tmp_path
):
    process, worker, held = in_the_middle
    worker.kill()
    worker.wait()
    worker, killed = held.meet(process.pid), worker
    assert worker != killed
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    assert worker in workers
    process.kill()
    process.communicate()
    psutil.wait_procs(workers)
    held.let_go()
    run = next(tmp_path.glob("tiny-*"))
    assert status_of(run) == "interrupted"
    assert simulate("--resume", run, "--workers", "in-process") == run
    assert model(run) == sampled[1]


@pytest.mark.slow
def test_ctrl_c_ends_with_one_line_and_can_be_resumed(sampled, in_the_middle, tmp_path):
    process, _, held = in_the_middle
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert error.strip() == "interrupted"
    held.let_go()
    run = next(tmp_path.glob("tiny-*"))
    simulate("--resume", run, "--workers", "in-process")
    assert model(run) == sampled[1]
