"""The Flower ServerApp of a real federation: opens the run's folder and runs the round loop in it."""

import json
import os
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.audit.log import open_audit
from server.folder.coordinator import COORDINATOR, MODELS, RUNS
from server.gateway.model_files import Outbox
from server.registry.enrolment import Registry
from server.registry.store import REGISTRY
from server.rounds.attentive_grid import AttentiveGrid
from server.rounds.loop import RoundLoop
from server.rounds.site_grid import SiteGrid
from server.rounds.site_heads import SiteHeads, known_heads
from server.runs.file_copies import run_path
from server.runs.folder import RunFolder
from server.runs.life import at_work
from server.superlink.site_names import SUPERLINK, SiteKeys, project_sites
from shared.errors import RunError
from shared.flower import RunStopped
from shared.job.schema import JobSpec, parse_job

_LOOK_FOR_SITES = 0.5  # seconds

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the job that the run's configuration holds, as one JSON string, in the folder that it names."""
    config = context.run_config
    folder = Path(os.environ[COORDINATOR])
    name = str(config["run"])
    audit = open_audit(folder)
    with (
        Outbox(folder / MODELS) as outbox,
        closing(Registry(folder / REGISTRY, audit.append)) as registry,
    ):
        execute(
            AttentiveGrid(grid, outbox, partial(project_sites, folder, str(config["project"]))),
            parse_job(json.loads(str(config["job"])), "the run's job"),
            folder / RUNS,
            name,
            context.run_id,
            researcher=str(config["researcher"]),
            project=str(config["project"]),
            resume=bool(config["resume"]),
            heads=SiteHeads(
                audit.append, known_heads(folder / "audit"), name, SiteKeys(registry, folder / SUPERLINK).of
            ),
        )


def execute(
    grid: SiteGrid,
    job: JobSpec,
    runs: Path,
    name: str,
    run_id: int,
    *,
    researcher: str,
    project: str = "",
    resume: bool,
    heads: SiteHeads,
) -> None:
    """Run a job to its end, or go on with it.

    Args:
        grid: Reaches the sites.
        job: What is asked.
        runs: Folder of the run folders.
        name: Of the run's folder.
        run_id: Flower's number of the run.
        researcher: Who submitted it; empty names nobody.
        project: Whose run it is.
        resume: Go on from the last checkpoint, if there is one.
        heads: Keeps the heads of the sites' audit logs.

    Raises:
        WardroundError: Something stopped it; it can be resumed.
    """
    run = RunFolder.open(run_path(runs, name), job) if resume else RunFolder.create(runs, job, name, project)
    work = at_work(run, resume=resume, flower_run=run_id, researcher=researcher)
    with suppress(RunStopped), work:  # whoever stopped it knows
        _await_sites(grid, job, run)
        RoundLoop(grid, job, run, heads, heads=heads).execute(resume=run.has_checkpoint())


def _await_sites(grid: SiteGrid, job: JobSpec, run: RunFolder) -> None:
    """Wait until as many sites as the job needs are connected, for as long as it waits for a round.

    Raises:
        RunError: They did not come.
    """
    least, seconds = job.strategy.min_sites, job.strategy.round_timeout
    end = time.monotonic() + seconds
    seen = -1
    while (connected := len(list(grid.get_node_ids()))) < least:
        if connected != seen:
            seen = connected
            run.event("waiting_for_sites", connected=connected, needed=least)
        if time.monotonic() > end:
            raise RunError(
                f"{connected} sites are connected, the job needs {least}; waited for {seconds:g} s",
                where="[strategy] min_sites",
                remedy="Once the sites are back, resume the run.",
            )
        time.sleep(_LOOK_FOR_SITES)
