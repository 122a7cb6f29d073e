"""One `wardround simulate`: build the hospitals, run the job, compare, show the table."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from client.site import SiteConfig
from server.events import Event, Listener
from server.files import write_atomic
from server.progress import Progress
from server.rounds import RoundLoop
from server.runs import RunFolder, plain
from server.tables import results_table
from shared.errors import RunError, WardroundError
from shared.job import JobSpec
from simulate.baselines import POOLED
from simulate.grid import LocalGrid
from simulate.hospitals import BASELINE, HostFactory, Setup
from simulate.setup import (
    check_sites,
    find_manifest,
    sites_from_files,
    sites_of_manifest,
    sites_of_partition,
)
from simulate.workers import Call, Workers, open_workers

_SETUP = "simulation.json"


@dataclass(frozen=True)
class Hospitals:
    """Where the hospitals of a simulation come from."""

    files: Sequence[Path] = ()  # site.toml of each
    data: Path | None = None  # one dataset for all
    count: int | None = None  # cut it into so many sites
    scheme: str | None = None  # how
    scanner_shift: bool = False


def start(job: JobSpec, hospitals: Hospitals, out: Path, device: str, *, baselines: bool) -> RunFolder:
    """Make the folder of a new run, with the hospitals that it has.

    Raises:
        WardroundError: The data or the options can't be used; no run was made then.
    """
    run = RunFolder.create(out, job)
    try:
        sites = _sites(job, hospitals, out, run.path)
        check_sites(job, sites)
    except WardroundError:
        shutil.rmtree(run.path)
        raise
    setup = Setup(
        sites=sites,
        scanner_seed=job.job.seed if hospitals.scanner_shift else None,
        device=device,
        baselines=baselines,
    )
    write_atomic(run.path / _SETUP, setup.model_dump_json(indent=2).encode())
    return run


def _sites(job: JobSpec, hospitals: Hospitals, out: Path, folder: Path) -> list[SiteConfig]:
    if hospitals.files:
        return sites_from_files(hospitals.files)
    manifest = find_manifest(job, hospitals.data, out)
    if hospitals.count is None and hospitals.scheme is None:
        return sites_of_manifest(job, manifest)
    return sites_of_partition(job, manifest, hospitals.count, hospitals.scheme or "iid", folder / "sites")


def execute(run: RunFolder, workers: str, console: Console, *, resume: bool = False) -> None:
    """Run a simulation to its end and print the table.

    Raises:
        WardroundError: Something stopped it; it can be resumed.
    """
    setup = Setup.read(run.path / _SETUP)
    factory = HostFactory(setup.model_dump_json())
    with run.lock(), open_workers(workers, factory, run.job.training.threads) as pool:
        run.describe(status="running", workers=workers, device=setup.device)
        try:
            with Progress(console, run.job.evaluation.select_best) as progress:
                loop = RoundLoop(
                    LocalGrid(pool, [site.name for site in setup.sites]), run.job, run, progress, strict=True
                )
                loop.execute(resume=resume)
                if setup.baselines:
                    _baselines(run, loop, pool, progress)
        except WardroundError as error:
            run.describe(status="failed", reason=str(error))
            raise
        except KeyboardInterrupt:
            run.describe(status="stopped")
            raise
        run.describe(status="finished", startup_seconds=pool.startup_seconds)
    console.print(results_table(run.job, run.read_description()))
    console.print(f"Run folder: {run.path}", soft_wrap=True, highlight=False)


def _baselines(run: RunFolder, loop: RoundLoop, workers: Workers, listen: Listener) -> None:
    """Train each member alone and one model on everybody's data; what was done before a restart is kept."""
    description = run.read_description()
    names, rounds = list(description["sites"]), description["rounds"]
    folder = run.path / "baselines"
    folder.mkdir(exist_ok=True)
    plans = {POOLED: names} | {name: [name] for name in names}
    missing = [name for name in plans if not (folder / f"{name}.json").exists()]
    listen(Event("baselines_started", data={"models": len(missing)}))
    workers.submit(
        [
            Call(
                number,
                name,
                BASELINE,
                {"job": run.job.canonical(), "members": plans[name], "everyone": names, "rounds": rounds},
                {},
            )
            for number, name in enumerate(missing)
        ]
    )
    left = len(missing)
    while left:
        for outcome in workers.wait(None):
            left -= 1
            if outcome.payload is None:
                raise outcome.error or RunError("a baseline failed without a reason")
            name = missing[outcome.id]
            vector = outcome.tensors["vector"].numpy()
            run.save_model(f"baselines/{name}", loop.layout, vector, outcome.payload["round"])
            write_atomic(folder / f"{name}.json", json.dumps(plain(outcome.payload)).encode())
            listen(Event("baseline_done", site=name, data={"seconds": outcome.seconds}))
    results = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in plans}
    run.describe(baselines={"pooled": results.pop(POOLED), "alone": results})
