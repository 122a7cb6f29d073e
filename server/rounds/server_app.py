"""The Flower ServerApp of a real federation: opens the run's folder and runs the round loop in it."""

import json
import os
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.audit.log import open_audit
from server.folder.coordinator import COORDINATOR, MODELS, RUNS, load_settings
from server.gateway.model_files import Outbox
from server.registry.enrolment import Registry
from server.registry.store import REGISTRY
from server.rounds.attentive_grid import AttentiveGrid
from server.rounds.describing import Describing
from server.rounds.loop import RoundLoop
from server.rounds.missing_sites import to_the_end
from server.rounds.passport import Passports
from server.rounds.site_grid import SiteGrid
from server.rounds.site_heads import SiteHeads, known_heads
from server.runs.file_copies import run_path
from server.runs.folder import RunFolder
from server.runs.killed import how_it_ended, note_killed
from server.runs.life import at_work
from server.runs.places import BackInQueueError, Places
from server.runs.start_files import keep_starts
from server.superlink.site_names import SUPERLINK, SiteKeys, all_sites, project_sites
from shared.flower import RunStopped
from shared.job.schema import JobSpec, parse_job

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the job that the run's configuration holds, as one JSON string, in the folder that it names."""
    config = context.run_config
    folder = Path(os.environ[COORDINATOR])
    name = str(config["run"])
    audit = open_audit(folder)
    project, settings = str(config["project"]), load_settings(folder)
    with (
        Outbox(folder / MODELS) as outbox,
        closing(Registry(folder / REGISTRY, audit.append)) as registry,
    ):
        execute(
            AttentiveGrid(
                grid, outbox, partial(project_sites, folder, project), partial(all_sites, folder, project)
            ),
            parse_job(json.loads(str(config["job"])), "the run's job"),
            folder / RUNS,
            name,
            context.run_id,
            starts=folder / settings.server.starts,
            resume=bool(config["resume"]),
            places=Places(folder / RUNS, settings.limits.runs, partial(all_sites, folder)),
            heads=SiteHeads(
                audit.append, known_heads(folder / "audit"), name, SiteKeys(registry, folder / SUPERLINK).of
            ),
            passports=Passports(folder, audit.append),
        )


def note_end(pid: int, code: int) -> None:
    """Write down how the process of a run ended that could not do so itself; Flower's fork server calls this.

    Args:
        pid: Of the process.
        code: Its exit code; below 0, the signal that killed it.
    """
    if code:
        note_killed(Path(os.environ[COORDINATOR]) / RUNS, pid, how_it_ended(code))


def execute(
    grid: SiteGrid,
    job: JobSpec,
    runs: Path,
    name: str,
    run_id: int,
    *,
    starts: Path,
    resume: bool,
    places: Places,
    heads: SiteHeads,
    passports: Passports,
) -> None:
    """Run a job to its end, or go on with it.

    Args:
        grid: Reaches the sites.
        job: What is asked.
        runs: Folder of the run folders.
        name: Of the run's folder.
        run_id: Flower's number of the run.
        starts: Folder of the files of weights that jobs may start from.
        resume: Go on from the last checkpoint, if there is one.
        places: Of the coordinator's runs.
        heads: Keeps the heads of the sites' audit logs.
        passports: Writes the passport of the models.

    Raises:
        WardroundError: Something stopped it; it can be resumed.
    """
    run = RunFolder.open(run_path(runs, name), job)
    work = at_work(run, resume=resume, from_queue=True, flower_run=run_id, queue=None, process=os.getpid())
    with suppress(RunStopped, BackInQueueError), work:  # whoever stopped it knows
        if not run.has_checkpoint():
            keep_starts(run, starts)
        if job.job.describes:
            to_the_end(run, lambda: Describing(grid, job, run, heads, heads=heads, places=places))
            return
        loop = to_the_end(run, lambda: RoundLoop(grid, job, run, heads, heads=heads, places=places))
        passports.write(run, loop.federation, loop.layout)
