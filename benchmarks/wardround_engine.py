"""Wardround as the benchmarks run it."""

from collections.abc import Sequence
from multiprocessing import synchronize
from pathlib import Path

from common import Measured, RoundClock, Work, make_job
from plain_training import CHANNELS, LEARNING_RATE, RESIDUAL_UNITS

from client.data.manifest.splits import SplitTable
from server.rounds.loop import RoundLoop
from server.runs.events import Event, Listener
from server.runs.folder import RunFolder
from shared.job.schema import JobSpec
from simulate.session.grid import LocalGrid
from simulate.session.hospitals import HostFactory, Setup
from simulate.session.setup import sites_of_manifest
from simulate.workers import open_workers


def job_of(work: Work, side: int) -> JobSpec:
    """Return the job: what `plain_training` does, two rounds more, evaluated only in the last."""
    rounds = work.rounds + 2
    return make_job(
        job_name="overhead",
        job_rounds=rounds,
        model={"name": "unet", "channels": list(CHANNELS), "num_res_units": RESIDUAL_UNITS},
        data={"size": [side, side]},
        training={"local_steps": work.steps, "batch_size": work.batch, "learning_rate": LEARNING_RATE},
        strategy={"name": "fedavg"},
        evaluation={"every": rounds},
    )


def tiny_job(side: int, channels: Sequence[int], rounds: int) -> JobSpec:
    """Return a job whose training is two images a site, so that everything else shows."""
    return make_job(
        job_rounds=rounds,
        model={"name": "unet", "channels": list(channels)},
        data={"size": [side, side]},
        training={"local_epochs": 1, "batch_size": 2},
        strategy={"name": "fedavg"},
        evaluation=None,
    )


def run(work: Work, side: int, folder: Path, started: float, go: synchronize.Event) -> Measured:
    """Run the benchmark's job; see `common.RoundClock`."""
    job = job_of(work, side)
    clock = RoundClock(started, job.job.rounds, go)

    def listen(event: Event) -> None:
        if event.kind == "round_started":
            clock.begin(event.round)

    simulate(job, work.manifest, work.workers, folder, listen)
    return clock.measured()


def simulate(job: JobSpec, manifest: Path, workers: int, folder: Path, listen: Listener) -> RunFolder:
    """Run a job as `wardround simulate` does: a run folder with checkpoints, a pool of warm processes."""
    sites = sites_of_manifest(job, manifest, SplitTable(validation=0.0, test=0.0))
    setup = Setup(sites=sites, device="cpu")
    with open_workers(str(workers), HostFactory(setup.model_dump_json()), job.training.threads) as pool:
        grid = LocalGrid(pool, [site.name for site in sites])
        run_folder = RunFolder.create(folder, job)
        RoundLoop(grid, job, run_folder, listen, strict=True).execute()
    return run_folder
