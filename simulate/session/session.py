"""One `wardround simulate`: build the hospitals, run the job, compare, show the table."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from client.data.manifest.pooled_sites import Row
from client.data.manifest.splits import SplitTable
from client.settings.site import SiteConfig
from client.training.device import check_machine, open_device
from server.files import write_atomic
from server.report.progress import Progress
from server.report.tables import print_results, print_warnings
from server.rounds.describing import Describing
from server.rounds.federation import trains
from server.rounds.loop import Result, RoundLoop
from server.runs.events import Event, Listener
from server.runs.folder import RunFolder, plain
from server.runs.life import at_work
from server.runs.participation import Participation
from server.runs.start_files import keep_starts
from server.track.tracker import open_tracker
from shared.errors import RunError, WardroundError
from shared.job.schema import JobSpec
from shared.metrics.replicates import Tables
from shared.run_folder import SIMULATION
from shared.text.names import suggestion
from shared.wire.packed_model import tensor_of
from simulate.session.attackers import Attack
from simulate.session.baselines import POOLED
from simulate.session.grid import LocalGrid
from simulate.session.hospitals import BASELINE, JUDGE, HostFactory, Setup
from simulate.session.judging import compare
from simulate.session.pictures import write_samples
from simulate.session.rehearsal import keep
from simulate.session.repeating import check_record
from simulate.session.setup import (
    check_sites,
    find_manifest,
    sites_from_files,
    sites_of_manifest,
    sites_of_partition,
)
from simulate.workers import Call, Workers, open_workers

REPEATS = "repeats.jsonl"
_KEPT = "kept"  # folder of what the sites keep between rounds
_OPEN = (
    "These hospitals show scores of their own; by default a real one does not, nor figures of fewer than 10 "
    "patients (docs/policy.md)."
)
_ALONE = "alone-"  # before a site's name: a site may be called "pooled"


@dataclass(frozen=True)
class Hospitals:
    """Where the hospitals of a simulation come from."""

    files: Sequence[Path] = ()  # site.toml of each
    data: Path | None = None  # one dataset for all
    count: int | None = None  # cut it into so many sites
    scheme: str | None = None  # how
    scanner_shift: bool = False
    repeats: Participation | None = None  # who took part in the run that is to be repeated
    shares: SplitTable = field(default_factory=SplitTable)  # of hospitals without files of their own
    starts: Path = Path()  # folder of the weights that the job starts from
    held_out: Sequence[str] = ()  # names of those that only test
    attackers: int = 0  # how many want to spoil the model
    attack: str | None = None  # how; see `simulate.session.attackers`


def start(
    job: JobSpec,
    hospitals: Hospitals,
    out: Path,
    device: str,
    *,
    baselines: bool,
    track: Callable[[Sequence[Row]], Iterable[Row]] = iter,
) -> RunFolder:
    """Make the folder of a new run, with the hospitals that it has, once all of their files were read.

    What is doubtful about the data is in its description as `warnings`.

    Raises:
        WardroundError: The data or the options can't be used; no run was made then.
    """
    run = RunFolder.create(out, job)
    try:
        setup, warnings = open_hospitals(
            job, hospitals, out, run.path, device, baselines=baselines, track=track
        )
        if hospitals.repeats is not None:
            warnings += check_record(job, hospitals.repeats, {site.name for site in setup.sites})
            write_atomic(run.path / REPEATS, hospitals.repeats.text().encode())
        settle(run, setup, hospitals.starts, warnings)
    except BaseException:
        shutil.rmtree(run.path)
        raise
    return run


def open_hospitals(
    job: JobSpec,
    hospitals: Hospitals,
    out: Path,
    folder: Path,
    device: str,
    *,
    baselines: bool,
    track: Callable[[Sequence[Row]], Iterable[Row]] = iter,
) -> tuple[Setup, list[str]]:
    """Return the hospitals of a simulation, and what is doubtful about their data, once all files were read.

    Args:
        job: What the data are for; its seed draws what hospitals do not have by themselves.
        hospitals: Where they come from.
        out: Folder of runs; synthetic hospitals are made there.
        folder: Holds what is made for this simulation alone.
        device: See `Setup`.
        baselines: See `Setup`.
        track: Wraps the rows, to show progress.

    Raises:
        WardroundError: The data or the options can't be used.
    """
    if baselines and not job.trains:
        raise RunError("compares trained models, and this job trains none", where="--baselines")
    if baselines and not job.evaluation.test:
        problem = "compares models on the test patients, and this job leaves them alone (test = false)"
        raise RunError(problem, where="--baselines")
    check_machine(job, open_device(device), "this simulation")
    sites = _sites(job, hospitals, out, folder)
    names = [site.name for site in sites]
    if unknown := [name for name in hospitals.held_out if name not in names]:
        raise RunError(
            f"'{unknown[0]}' is no hospital here; {suggestion(unknown[0], names)}", where="--hold-out"
        )
    attack = _attack(job, hospitals, [name for name in names if name not in hospitals.held_out])
    setup = Setup(
        sites=sites,
        folders={
            site.name: file.resolve().parent
            for site, file in zip(sites, hospitals.files, strict=bool(hospitals.files))
        },
        scanner_seed=job.job.seed if hospitals.scanner_shift else None,
        split_seed=job.job.seed if hospitals.held_out else None,
        held_out=list(hospitals.held_out),
        attack=attack,
        device=device,
        baselines=baselines,
    )
    warnings = check_sites(job, sites, setup.cohorts(), track)
    return setup, [*warnings, *([] if attack is None else [attack.words])]


def settle(run: RunFolder, setup: Setup, starts: Path, warnings: list[str]) -> None:
    """Write into a run's folder what it begins with.

    Raises:
        JobError: The weights that the job starts from can't be used.
    """
    keep_starts(run, starts)
    write_atomic(run.path / SIMULATION, setup.model_dump_json(indent=2).encode())
    if setup.attack is not None:
        run.describe(attack=setup.attack.model_dump())
    run.describe(warnings=warnings)


def _attack(job: JobSpec, hospitals: Hospitals, sites: Sequence[str]) -> Attack | None:
    if not hospitals.attackers and hospitals.attack is None:
        return None
    if not hospitals.attackers or hospitals.attack is None:
        raise RunError("goes with --attack KIND, and the other way round", where="--attackers")
    return Attack.drawn(hospitals.attack, hospitals.attackers, job, sites)


def _sites(job: JobSpec, hospitals: Hospitals, out: Path, folder: Path) -> list[SiteConfig]:
    if hospitals.files:
        return sites_from_files(hospitals.files)
    manifest = find_manifest(job, hospitals.data, out)
    if hospitals.count is None and hospitals.scheme is None:
        return sites_of_manifest(job, manifest, hospitals.shares)
    return sites_of_partition(
        job, manifest, hospitals.count, hospitals.scheme or "iid", folder / "sites", shares=hospitals.shares
    )


def execute(
    run: RunFolder,
    workers: str | None,
    console: Console,
    *,
    resume: bool = False,
    track: Sequence[str] = (),
    also: Listener = lambda _: None,
) -> None:
    """Run a simulation to its end and print the table.

    Args:
        run: Its folder.
        workers: As for `open_workers`; None for one process per core, and no more than there are sites.
        console: Shows progress and the table.
        resume: Go on from the last checkpoint.
        track: Trackers that are told of it, as `server.track.sink.Target` has them.
        also: Told of everything that happens; what it raises ends the run.

    Raises:
        WardroundError: Something stopped it; it can be resumed, or was removed where it had not begun.
    """
    if not resume:
        print_warnings(console, run.read_description()["warnings"])
    setup = carry_out(run, workers, console, resume=resume, track=track, also=also)
    print_results(console, run.job, run.read_description())
    if run.job.trains and any(site.policy.share_site_metrics for site in setup.sites):
        console.print(_OPEN, soft_wrap=True, highlight=False)
    _report(run, console)
    console.print(f"Run folder: {run.path}", soft_wrap=True, highlight=False)


def carry_out(
    run: RunFolder,
    workers: str | None,
    console: Console,
    *,
    resume: bool = False,
    track: Sequence[str] = (),
    also: Listener = lambda _: None,
    grid: Callable[[Workers, Iterable[str]], LocalGrid] = LocalGrid,
) -> Setup:
    """Run a simulation to its end; arguments and errors are those of `execute`. Returns its hospitals.

    `grid` makes what carries its messages.
    """
    setup = Setup.read(run.path / SIMULATION)
    workers = workers or str(min(_cores(), len(setup.sites)))
    try:
        tracker = open_tracker(run, track, goes_on=resume)
        with tracker.until_the_end_of(run), at_work(run, resume=resume, workers=workers, device=setup.device):
            _run(run, setup, workers, console, _both(tracker, also), resume=resume, make_grid=grid)
    except WardroundError:
        if not resume and not run.has_begun():  # nothing to resume, and the user reads the reason now
            shutil.rmtree(run.path)
        raise
    return setup


def _report(run: RunFolder, console: Console) -> None:
    """Write the report of a run that has finished; what keeps it from that is said, and undoes nothing."""
    from server.report.write import write_page  # noqa: PLC0415  (half a second, and nothing trains by it)

    try:
        console.print(f"Report: {write_page(run.path)}", soft_wrap=True, highlight=False)
    except WardroundError as error:
        print_warnings(console, [f"no report was written: {error}"])


def _cores() -> int:
    """Return the cores that this process may use; the standard library knows them on Linux alone."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(
    run: RunFolder,
    setup: Setup,
    workers: str,
    console: Console,
    told: Listener,
    *,
    resume: bool,
    make_grid: Callable[[Workers, Iterable[str]], LocalGrid],
) -> None:
    kept = run.path.resolve() / _KEPT
    factory = HostFactory(setup.model_dump_json(), kept)
    with (
        open_workers(workers, factory, run.job.training.threads) as pool,
        Progress(console, run.job.evaluation.select_best) as progress,
    ):
        grid = make_grid(pool, [site.name for site in setup.sites])
        if run.job.job.describes:
            least = max(site.policy.min_group for site in setup.sites)
            Describing(grid, run.job, run, _both(progress, told), strict=True, least=least).execute()
            return
        record = run.path / REPEATS
        repeats = Participation.read(record, run.job) if record.exists() else None
        listen = _both(progress, told)
        loop = RoundLoop(grid, run.job, run, listen, strict=True, repeats=repeats, rehearsal=True)
        result = loop.execute(resume=resume)
        write_samples(run, result.vector)
        if run.job.evaluation.test and all(site.policy.share_site_metrics for site in setup.sites):
            _compare(run, loop, result, pool)
        if setup.baselines:
            _baselines(run, loop, pool, listen)
        run.describe(startup_seconds=pool.startup_seconds)
    shutil.rmtree(kept, ignore_errors=True)  # a run that has finished is not resumed


def _both(first: Listener, second: Listener) -> Listener:
    def listen(event: Event) -> None:
        first(event)
        second(event)

    return listen


def _compare(run: RunFolder, loop: RoundLoop, result: Result, workers: Workers) -> None:
    """Describe what the test metrics are worth, with the patients behind them before it."""
    names = sorted(run.read_description()["sites"])
    vector = result.vector
    payload = {
        "job": run.job.canonical(),
        "round": result.round,
        "layout": loop.layout.digest(),
        "run": run.path.name,
        "statistics": loop.statistics,
    }
    workers.submit(
        [Call(number, name, JUDGE, payload, {"vector": vector}) for number, name in enumerate(names)]
    )
    tables: dict[str, Tables] = {}
    while len(tables) < len(names):
        for outcome in workers.wait(None):
            if outcome.payload is None:
                raise outcome.error or RunError("a test failed without a reason")
            tables[names[outcome.id]] = {name: tensor_of(array) for name, array in outcome.arrays.items()}
    by_name = keep(run, {name: tables[name] for name in names})
    run.describe(comparison=compare(loop.task, by_name))


def _baselines(run: RunFolder, loop: RoundLoop, workers: Workers, listen: Listener) -> None:
    """Train a model of each site that trains, and one of all their data; what a restart finds is kept."""
    description = run.read_description()
    sites, rounds = description["sites"], description["rounds"]
    names = list(sites)
    trainers = [name for name in names if trains(run.job, sites[name]["patients"])]
    folder = run.path / "baselines"
    folder.mkdir(exist_ok=True)
    plans = {POOLED: trainers} | {_ALONE + name: [name] for name in trainers}
    missing = [plan for plan in plans if not (folder / f"{plan}.json").exists()]
    listen(Event("baselines_started", data={"models": len(missing)}))
    first = loop.first_model()
    workers.submit(
        [
            Call(
                number,
                plan.removeprefix(_ALONE),
                BASELINE,
                {"job": run.job.canonical(), "members": plans[plan], "everyone": names, "rounds": rounds},
                {"first": first},
            )
            for number, plan in enumerate(missing)
        ]
    )
    left = len(missing)
    while left:
        for outcome in workers.wait(None):
            left -= 1
            if outcome.payload is None:
                raise outcome.error or RunError("a baseline failed without a reason")
            plan = missing[outcome.id]
            vector = outcome.arrays["vector"]
            run.save_model(f"baselines/{plan}", loop.wire.model, vector, outcome.payload["round"])
            write_atomic(folder / f"{plan}.json", json.dumps(plain(outcome.payload)).encode())
            listen(Event("baseline_done", site=plan, data={"seconds": outcome.seconds}))
    results = {plan: json.loads((folder / f"{plan}.json").read_text(encoding="utf-8")) for plan in plans}
    alone = {name: results[_ALONE + name] for name in trainers}
    run.describe(baselines={"pooled": results[POOLED], "alone": alone})
