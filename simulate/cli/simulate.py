"""`wardround simulate`: all hospitals of a federation on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.track import To
from shared.cli.answer import Json, answer
from simulate.cli.options import (
    Attackers,
    AttackKind,
    Data,
    Device,
    Folds,
    Partition,
    ScannerShift,
    Seed,
    Set,
    Site,
    Sites,
    Start,
    Test,
    Validation,
    WorkersOption,
    command,
    given,
    overrides_of,
)
from simulate.cli.runs import Given, begin, go_on, kind_of

if TYPE_CHECKING:
    from client.data.manifest.splits import SplitTable
    from server.runs.participation import Participation
    from shared.job.schema import JobSpec
    from shared.series import Kind


def simulate(
    job_file: Annotated[
        Path | None, typer.Argument(metavar="JOB.toml", help="The job; not needed with --resume or --as-in.")
    ] = None,
    data: Data = None,
    site: Site = None,
    sites: Sites = None,
    partition: Partition = None,
    test: Test = None,
    validation: Validation = None,
    folds: Folds = None,
    labelled: Annotated[
        float | None,
        typer.Option(
            help="Share of each site's training patients whose labels are used, for a job with "
            "[task.unlabelled]. Default: all.",
            min=0.0001,
            max=1,
            show_default=False,
        ),
    ] = None,
    start: Start = None,
    scanner_shift: ScannerShift = False,
    attackers: Attackers = None,
    attack: AttackKind = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also train each site alone and one model on all data.")
    ] = False,
    as_in: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Repeat a run: the same sites in the same rounds. Its folder, or its participation.jsonl.",
            show_default=False,
        ),
    ] = None,
    workers: WorkersOption = None,
    device: Device = None,
    seed: Seed = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="Repeat it with this many seeds, from the job's own on.", show_default=False
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(metavar="SITE", help="A hospital that only tests; repeat it.", show_default=False),
    ] = None,
    leave_one_site_out: Annotated[
        bool, typer.Option("--leave-one-site-out", help="Repeat it without each hospital, which only tests.")
    ] = False,
    learning_curve: Annotated[
        str | None,
        typer.Option(
            metavar="OVER", help="Repeat it with fewer of them: sites or patients.", show_default=False
        ),
    ] = None,
    cross_validation: Annotated[
        bool,
        typer.Option(
            "--cross-validation",
            help="Repeat it with each of the hospitals' folds as validation; the test stays closed. With "
            "--seeds folds are drawn anew for each.",
        ),
    ] = False,
    rounds: Annotated[int | None, typer.Option(help="Overrides job.rounds.", show_default=False)] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="One round of one step at each site: does it run? It learns nothing."),
    ] = False,
    set_: Set = None,
    out: Annotated[Path, typer.Option(help="Folder that holds the run folders.")] = Path("runs"),
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Go on with a run, or a series, that was stopped.", show_default=False
        ),
    ] = None,
    track: To = None,
    json: Json = False,
) -> None:
    """Train a job across simulated hospitals and show what each of them gets from it."""
    kind = kind_of(
        seeds, learning_curve, leave_one_site_out=leave_one_site_out, cross_validation=cross_validation
    )
    if resume is not None:
        _require_run(resume)
    from rich.console import Console

    from shared.errors import RunError
    from shared.job.schema import load_job

    overrides = overrides_of(set_, seed, rounds, quick=quick)
    job = None if job_file is None else load_job(job_file, overrides)
    if job is None and resume is None and as_in is None:
        raise typer.BadParameter("give a JOB.toml, --resume RUN or --as-in RUN")
    shares = given(test=test, validation=validation, folds=folds, labelled=labelled)
    begun_with = (data, site, sites, partition, scanner_shift, baselines, device, shares, as_in, start)
    if resume is not None and any((*begun_with, kind, hold_out, attackers, attack)):
        raise RunError(
            "a resumed run has its hospitals and device; only --workers can change", where="--resume"
        )
    if job is None and overrides:
        where = "--as-in" if resume is None else "--resume"
        raise RunError("the run keeps its job; leave out --set, --seed, --rounds and --quick", where=where)
    if site and (data or sites or partition or shares):
        problem = "goes without --data, --sites, --partition, --test, --validation, --folds and --labelled"
        raise RunError(problem, where="--site")
    if labelled is not None:
        _require_unlabelled(job or _job_of(as_in))

    from shared.loading import loading

    with loading():
        from server.track.settings import targets_of
        from simulate.session.session import Hospitals

    targets = targets_of(track)  # before the data are read
    console = Console(stderr=json)  # with --json stdout is the object's alone
    if resume is not None:
        said = go_on(resume, job, workers, console, targets)
    else:
        hospitals = Hospitals(
            site or [],
            data,
            sites,
            partition,
            scanner_shift,
            _record(as_in, job, kind),
            _split(shares),
            start or _folder_of_starts(job_file, as_in),
            hold_out or [],
            attackers or 0,
            attack,
        )
        asked = Given(job or _job_of(as_in), hospitals, out, device or "auto", baselines, command())
        said = begin(asked, workers, console, targets, kind=kind, seeds=seeds or 1)
    if json:
        answer(json, **said)


def _job_of(run: Path | None) -> "JobSpec":
    from server.runs.folder import RunFolder

    assert run is not None  # noqa: S101 (there is a job, or a run that is to be repeated)
    return RunFolder.read(run).job


def _record(as_in: Path | None, job: "JobSpec | None", kind: "Kind | None") -> "Participation | None":
    """Return who took part in the run that is to be repeated, if there is one."""
    from server.runs.participation import Participation
    from shared.errors import RunError

    if as_in is None:
        return None
    if kind is not None:
        raise RunError("repeats one run, and not a series", where="--as-in")
    return Participation.read(as_in, job or _job_of(as_in))


def _split(shares: dict[str, Any]) -> "SplitTable":
    from client.data.manifest.splits import SplitTable

    return SplitTable(**shares)


def _folder_of_starts(job_file: Path | None, as_in: Path | None) -> Path:
    """Return where weights that a job starts from are: beside its file, or with the run that is repeated."""
    from shared.run_folder import START

    if job_file is None and as_in is not None:
        return (as_in if as_in.is_dir() else as_in.parent) / START
    return Path() if job_file is None else job_file.parent


def _require_run(folder: Path) -> None:
    """Say that there is no such run before anything heavy is loaded."""
    from shared.errors import RunError

    if not any((folder / name).is_file() for name in ("job.json", "series.json")):
        raise RunError("is not the folder of a run", where=folder, remedy="`wardround runs` lists them.")


def _require_unlabelled(job: "JobSpec") -> None:
    """Refuse to leave out labels where the job does not say what becomes of rows without them."""
    from shared.errors import RunError

    if not any(field.partly_known for field in job.task.fields().values()):
        raise RunError(
            "leaves training rows without labels, and the job does not say what becomes of them",
            where="--labelled",
            remedy="Add [task.unlabelled], which classification and segmentation have (docs/few-labels.md).",
        )
