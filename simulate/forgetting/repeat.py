"""A run repeated as if a hospital, or some of its patients, had never been there."""

import shutil
from collections.abc import Collection
from functools import partial
from pathlib import Path

from rich.console import Console

from client.data.kinds import file_columns
from client.data.manifest.csv_files import read_table
from client.settings.site import DatasetTable, SiteConfig
from server.files import write_atomic
from server.runs.events import Event
from server.runs.folder import RunFolder
from server.runs.participation import Participation
from shared.errors import RunError
from shared.flower import RunStopped
from shared.job.schema import JobSpec, override, parse_job
from shared.job_parts import is_sent_whole
from shared.networks.build import build_model
from shared.run_folder import SIMULATION, START, RunRecord
from shared.text.names import suggestion
from shared.wire.packed_model import Layout
from simulate.data.partition import write_site_manifests
from simulate.forgetting.grids import ErasingGrid, Kept
from simulate.session.hospitals import Setup
from simulate.session.session import REPEATS, carry_out, settle


class UpdatesKept(RunStopped):
    """All rounds were repeated; what is needed of their updates is kept."""


def without_site(run: RunRecord, site: str, out: Path) -> RunFolder:
    """Return a new run, not begun, that repeats a simulated one without a site.

    Args:
        run: The run; it has finished.
        site: Name of the site.
        out: Folder of the new run's folder.

    Raises:
        RunError: The run is none of a simulation, has no such site, or nobody would be left.
    """
    setup, record = _of(run)
    _require_site(site, record, run)
    job = _job_without(run, record, site)
    rest = [own for own in setup.sites if own.name != site]
    folders = {name: folder for name, folder in setup.folders.items() if name != site}
    held_out = [name for name in setup.held_out if name != site]
    changed = {"sites": rest, "folders": folders, "held_out": held_out, "baselines": False}
    return _new(run, job, setup.model_copy(update=changed), record.without(site, job), out)


def without_patients(run: RunRecord, site: str, patients: Collection[str], out: Path) -> RunFolder:
    """Return a new run, not begun, that repeats a simulated one without some patients of a site.

    Raises:
        RunError: As `without_site`; or the site has no such patient.
    """
    setup, record = _of(run)
    _require_site(site, record, run)
    folder = RunFolder.create(out, run.job)
    try:
        own = next(one for one in setup.sites if one.name == site)
        changed = own.model_copy(update={"datasets": _datasets(run.job, own, patients, folder)})
    except BaseException:
        shutil.rmtree(folder.path)
        raise
    sites = [changed if one.name == site else one for one in setup.sites]
    return _settled(run, folder, setup.model_copy(update={"sites": sites, "baselines": False}), record)


def erased(run: RunRecord, site: str, out: Path, share: float, workers: str | None) -> RunFolder:
    """Return the finished run of FedEraser (see `simulate.forgetting.grids`) for a site.

    Args:
        run: The run that the site was in; it is repeated for what is to be kept of its updates.
        site: Name of the site.
        out: Folder of the new runs.
        share: Of a round's steps that the sites which stay train to calibrate.
        workers: As for `execute`.

    Raises:
        RunError: As `without_site`; or the job's updates can't be calibrated.
        WardroundError: The training could not go on.
    """
    if (reason := why_not_erased(run.job)) is not None:
        raise RunError(reason, where=run.path)
    kept = Kept(Layout.of(build_model(run.job, started=False)).parameters)
    _keep(run, out, kept, workers)
    shorter = _shorter(run.job, share)
    setup, record = _of(run)
    job = _job_without(RunRecord(run.path, shorter), record, site)
    rest = [own for own in setup.sites if own.name != site]
    changed = {"sites": rest, "baselines": False}
    found = _new(run, job, setup.model_copy(update=changed), record.without(site, job), out)
    carry_out(found, workers, Console(quiet=True), grid=partial(ErasingGrid, kept=kept, calibrates=True))
    return found


def why_not_erased(job: JobSpec) -> str | None:
    """Return why updates of a job can't be calibrated; None where they can."""
    if job.strategy.name != "fedavg" or not is_sent_whole(job):
        return "FedEraser calibrates whole updates of 'fedavg' alone"
    if job.privacy.mechanism != "none" or job.privacy.secure_aggregation:
        return "FedEraser needs single updates without noise"
    if job.training.keep_optimizer:
        return "FedEraser trains for fewer steps, and the optimisers would remember others"
    return None


def _keep(run: RunRecord, out: Path, kept: Kept, workers: str | None) -> None:
    setup, record = _of(run)
    again = _new(run, run.job, setup.model_copy(update={"baselines": False}), record, out)

    def stop(event: Event) -> None:
        if event.kind == "round_finished" and event.round == max(record.rounds):
            raise UpdatesKept

    try:
        grid = partial(ErasingGrid, kept=kept, calibrates=False)
        carry_out(again, workers, Console(quiet=True), also=stop, grid=grid)
    except UpdatesKept:
        again.describe(reason="it was repeated for the lengths of its updates, and ended before its test")


def _of(run: RunRecord) -> tuple[Setup, Participation]:
    if not (run.path / SIMULATION).exists():
        raise RunError(
            "is no rehearsal: its patients are at the hospitals",
            where=run.path,
            remedy="Submit its job again without the hospital, or rehearse with --as-in and its data.",
        )
    return Setup.read(run.path / SIMULATION), Participation.read(run.path, run.job)


def _require_site(site: str, record: Participation, run: RunRecord) -> None:
    if site not in record.sites:
        raise RunError(f"has no site '{site}'; {suggestion(site, record.sites)}", where=run.path)


def _job_without(run: RunRecord, record: Participation, site: str) -> JobSpec:
    """Return the job of the others: the same, but that as few sites are enough as there are without it."""
    rounds = [part for number, part in record.rounds.items() if number]
    fewest = min(len(set(part.trained) - {site}) for part in rounds)
    if not fewest:
        raise RunError(f"had a round in which '{site}' alone trained: nothing is left of it", where=run.path)
    least = min(run.job.strategy.min_sites, fewest)
    if least == run.job.strategy.min_sites:
        return run.job
    tables = run.job.model_dump(mode="json", exclude_none=True)
    override(tables, {"strategy.min_sites": least}, None)
    return parse_job(tables, run.path)


def _shorter(job: JobSpec, share: float) -> JobSpec:
    tables = job.model_dump(mode="json", exclude_none=True)
    for key in ("local_epochs", "local_steps"):
        if (length := getattr(job.training, key)) is not None:
            override(tables, {f"training.{key}": max(1, round(length * share))}, None)
    return parse_job(tables, "forget")


def _datasets(
    job: JobSpec, site: SiteConfig, patients: Collection[str], folder: RunFolder
) -> dict[str, DatasetTable]:
    """Return a site's datasets, of which that of the job lacks some patients: their rows are left out."""
    dataset = site.dataset(job.job.dataset)
    columns, table = read_table(dataset.manifest)
    rows = [dict(zip(columns, cells, strict=False)) for _, cells in table]
    own = [at for at, row in enumerate(rows) if dataset.site is None or row.get("site") == dataset.site]
    if missing := sorted(set(patients) - {rows[at]["patient"].strip() for at in own}):
        raise RunError(f"has no patient '{missing[0]}'", where=site.name)
    kept = [at for at in own if rows[at]["patient"].strip() not in patients]
    written = write_site_manifests(
        dataset.manifest, {site.name: kept}, folder.path / "sites", files=file_columns(job)
    )
    smaller = dataset.model_copy(update={"manifest": written[site.name].resolve(), "site": None})
    return {**site.datasets, job.job.dataset: smaller}


def _new(run: RunRecord, job: JobSpec, setup: Setup, record: Participation, out: Path) -> RunFolder:
    return _settled(run, RunFolder.create(out, job), setup, record)


def _settled(run: RunRecord, folder: RunFolder, setup: Setup, record: Participation) -> RunFolder:
    settle(folder, setup, run.path / START, [])
    write_atomic(folder.path / REPEATS, record.text().encode())
    return folder
