"""`wardround simulate`: all hospitals of a federation on this machine."""

import shlex
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.track import To
from shared.cli.answer import Json, answer
from shared.loading import loading
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
    data: Annotated[
        Path | None,
        typer.Option(
            help="Dataset for all sites: a manifest.csv or the folder that holds it.", show_default=False
        ),
    ] = None,
    site: Annotated[
        list[Path] | None,
        typer.Option(help="A hospital's own site.toml; repeat it for each hospital.", show_default=False),
    ] = None,
    sites: Annotated[
        int | None, typer.Option(min=1, help="Cut the dataset into so many sites.", show_default=False)
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(help="How to cut it: iid, dirichlet:ALPHA or column:NAME.", show_default=False),
    ] = None,
    test: Annotated[
        float | None,
        typer.Option(
            help="Share of the patients who test. Default: 0.2.", min=0, max=0.5, show_default=False
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            help="Share of the others who choose the best round. Default: 0.15.",
            min=0,
            max=0.5,
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Folds, for a job with [data] fold. Default: 5.", min=2, max=20, show_default=False
        ),
    ] = None,
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
    start: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the weights NAME.safetensors that the job starts from. Default: the job's.",
            show_default=False,
        ),
    ] = None,
    scanner_shift: Annotated[
        bool, typer.Option("--scanner-shift", help="Give each site a scanner of its own.")
    ] = False,
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
    workers: Annotated[
        str | None,
        typer.Option(
            help="in-process, a number of processes, ray:N or ray:auto. Default: a process a core or site.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu, cuda, cuda:N, or auto for a GPU where there is one. Default: auto.", show_default=False
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Overrides job.seed.", show_default=False)] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="Repeat it with so many seeds, from the job's own on.", show_default=False
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
    rounds: Annotated[int | None, typer.Option(help="Overrides job.rounds.", show_default=False)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="TABLE.KEY=VALUE", help="Overrides any key of the job.", show_default=False
        ),
    ] = None,
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
    kind = kind_of(seeds, learning_curve, leave_one_site_out=leave_one_site_out)
    if resume is not None:
        _require_run(resume)
    from rich.console import Console

    from shared.errors import RunError
    from shared.job.schema import load_job

    overrides = _overrides(set_ or [], seed, rounds)
    job = None if job_file is None else load_job(job_file, overrides)
    if job is None and resume is None and as_in is None:
        raise typer.BadParameter("give a JOB.toml, --resume RUN or --as-in RUN")
    shares = _given(test=test, validation=validation, folds=folds, labelled=labelled)
    begun_with = (data, site, sites, partition, scanner_shift, baselines, device, shares, as_in, start)
    if resume is not None and any((*begun_with, kind, hold_out)):
        raise RunError(
            "a resumed run has its hospitals and device; only --workers can change", where="--resume"
        )
    if job is None and overrides:
        where = "--as-in" if resume is None else "--resume"
        raise RunError("the run keeps its job; leave out --set, --seed and --rounds", where=where)
    if site and (data or sites or partition or shares):
        problem = "goes without --data, --sites, --partition, --test, --validation, --folds and --labelled"
        raise RunError(problem, where="--site")
    if labelled is not None:
        _require_unlabelled(job or _job_of(as_in))

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
        )
        given = Given(job or _job_of(as_in), hospitals, out, device or "auto", baselines, _command())
        said = begin(given, workers, console, targets, kind=kind, seeds=seeds or 1)
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


def _command() -> str:
    """Return what was typed, for the report; it holds nothing secret."""
    return shlex.join(["wardround", *sys.argv[1:]])


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


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _overrides(pairs: list[str], seed: int | None, rounds: int | None) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise typer.BadParameter(f"'{pair}' is not TABLE.KEY=VALUE", param_hint="--set")
        overrides[key.strip()] = _value(value.strip())
    if seed is not None:
        overrides["job.seed"] = seed
    if rounds is not None:
        overrides["job.rounds"] = rounds
    return overrides


def _value(text: str) -> Any:
    """Read a value as TOML does, and null; what is neither is taken as a string."""
    if text == "null":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
