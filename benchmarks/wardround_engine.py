"""The same training under Wardround."""

from pathlib import Path

from common import Measured, RoundClock, Work
from plain_training import CHANNELS, LEARNING_RATE, RESIDUAL_UNITS

from server.events import Event
from server.rounds import RoundLoop
from server.runs import RunFolder
from shared.job import JobSpec, parse_job
from simulate.grid import LocalGrid
from simulate.hospitals import HostFactory, Setup
from simulate.setup import sites_of_manifest
from simulate.workers import open_workers


def make_job(work: Work, side: int) -> JobSpec:
    """Return the job: what `plain_training` does, two rounds more, evaluated only in the last."""
    rounds = work.rounds + 2
    return parse_job(
        {
            "job": {"name": "overhead", "task": "segmentation", "dataset": "discs", "rounds": rounds},
            "model": {"name": "unet", "channels": list(CHANNELS), "num_res_units": RESIDUAL_UNITS},
            "data": {"classes": ["disc"], "size": [side, side], "validation": 0.0, "test": 0.0},
            "training": {
                "local_steps": work.steps,
                "batch_size": work.batch,
                "learning_rate": LEARNING_RATE,
                "loss": "dice-ce",
            },
            "strategy": {"name": "fedavg"},
            "evaluation": {"every": rounds},
        },
        "the benchmark",
    )


def run(work: Work, side: int, folder: Path, started: float) -> Measured:
    """Run the job with everything that a simulation does; `started` is when its process was asked for."""
    job = make_job(work, side)
    sites = sites_of_manifest(job, work.manifest)
    setup = Setup(sites=sites, device="cpu")
    clock = RoundClock(started, job.job.rounds)

    def listen(event: Event) -> None:
        if event.kind == "round_started":
            clock.begin(event.round)

    with open_workers(str(work.workers), HostFactory(setup.model_dump_json()), threads=1) as workers:
        grid = LocalGrid(workers, [site.name for site in sites])
        RoundLoop(grid, job, RunFolder.create(folder, job), listen, strict=True).execute()
    return clock.measured()
