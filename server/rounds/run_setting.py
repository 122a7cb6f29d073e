"""What the process of a run at a coordinator works with, while it waits and while it does the rounds."""

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid

from server.audit.log import open_audit
from server.audit.trail import Append
from server.folder.coordinator import ANSWERS, COORDINATOR, MODELS, RUNS, load_settings
from server.folder.limits import RunLimits
from server.gateway.answer_files import Inbox
from server.gateway.model_files import Outbox
from server.registry.enrolment import Registry
from server.registry.store import REGISTRY
from server.rounds.attentive_grid import AttentiveGrid
from server.rounds.site_heads import SiteHeads, known_heads
from server.runs.file_copies import run_path
from server.runs.folder import RunFolder
from server.runs.killed import how_it_ended, note_killed
from server.runs.places import Places
from server.superlink.site_names import SUPERLINK, SiteKeys, all_sites, project_sites
from shared.job.schema import parse_job


@dataclass(frozen=True)
class RunSetting:
    """A run, and what its process reaches.

    Attributes:
        coordinator: Its folder.
        grid: Reaches the sites of the run's project.
        run: Its folder.
        number: Flower's of it.
        resume: It was begun before.
        heads: Keeps the heads of the sites' audit logs.
        audit: Writes an entry of the coordinator's own.
        starts: Folder of the files of weights that jobs may start from.
        limits: How many runs may be at work.
    """

    coordinator: Path
    grid: AttentiveGrid
    run: RunFolder
    number: int
    resume: bool
    heads: SiteHeads
    audit: Append
    starts: Path
    limits: RunLimits

    def places(self, kind: type[Places] = Places) -> Places:
        """Return the places of the coordinator's runs."""
        return kind(self.coordinator / RUNS, self.limits, partial(all_sites, self.coordinator))


@contextmanager
def run_setting(grid: Grid, context: Context) -> Iterator[RunSetting]:
    """Open the run whose job and folder the configuration holds that Flower hands over.

    Raises:
        RunError: Its folder can't be used, or holds another job.
    """
    config = context.run_config
    folder = Path(os.environ[COORDINATOR])
    name, project = str(config["run"]), str(config["project"])
    audit, settings = open_audit(folder), load_settings(folder)
    job = parse_job(json.loads(str(config["job"])), "the run's job")
    with (
        Outbox(folder / MODELS) as outbox,
        closing(Registry(folder / REGISTRY, audit.append)) as registry,
    ):
        sites = partial(project_sites, folder, project), partial(all_sites, folder, project)
        keys = SiteKeys(registry, folder / SUPERLINK).of
        yield RunSetting(
            folder,
            AttentiveGrid(grid, outbox, Inbox(folder / ANSWERS), *sites),
            RunFolder.open(run_path(folder / RUNS, name), job),
            context.run_id,
            bool(config["resume"]),
            SiteHeads(audit.append, known_heads(folder / "audit"), name, keys),
            audit.append,
            folder / settings.server.starts,
            settings.limits.runs,
        )


def note_end(pid: int, code: int) -> None:
    """Write down how the process of a run ended that could not do so itself; Flower's fork server calls this.

    Args:
        pid: Of the process.
        code: Its exit code; below 0, the signal that killed it.
    """
    if code:
        note_killed(Path(os.environ[COORDINATOR]) / RUNS, pid, how_it_ended(code))
