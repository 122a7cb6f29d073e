"""What commands that rehearse have in common: whose hospitals they take, what of the job they change."""

import shlex
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from simulate.session.session import Hospitals

JobFile = Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job.", show_default=False)]
Out = Annotated[Path, typer.Option(help="Folder that holds the run folders.")]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Dataset for all sites: a manifest.csv or the folder that holds it.", show_default=False
    ),
]
Site = Annotated[
    list[Path] | None,
    typer.Option(help="A hospital's own site.toml; repeat it for each hospital.", show_default=False),
]
Sites = Annotated[
    int | None, typer.Option(min=1, help="Cut the dataset into this many sites.", show_default=False)
]
Partition = Annotated[
    str | None,
    typer.Option(help="How to cut it: iid, dirichlet:ALPHA or column:NAME.", show_default=False),
]
Test = Annotated[
    float | None,
    typer.Option(help="Share of the patients who test. Default: 0.2.", min=0, max=0.5, show_default=False),
]
Validation = Annotated[
    float | None,
    typer.Option(
        help="Share of the others who choose the best round. Default: 0.15.",
        min=0,
        max=0.5,
        show_default=False,
    ),
]
Folds = Annotated[
    int | None,
    typer.Option(help="Folds, for a job with [data] fold. Default: 5.", min=2, max=20, show_default=False),
]
Start = Annotated[
    Path | None,
    typer.Option(
        help="Folder with the weights NAME.safetensors that the job starts from. Default: the job's.",
        show_default=False,
    ),
]
ScannerShift = Annotated[bool, typer.Option("--scanner-shift", help="Give each site a scanner of its own.")]
Attackers = Annotated[
    int | None,
    typer.Option(help="Sites that want to spoil the model; drawn by the seed.", min=1, show_default=False),
]
AttackKind = Annotated[
    str | None,
    typer.Option(
        "--attack",
        help="What they do: label-flip, sign-flip, scale, noise, backdoor or collude.",
        show_default=False,
    ),
]
WorkersOption = Annotated[
    str | None,
    typer.Option(
        help="in-process, a number of processes, ray:N or ray:auto. Default: a process a core or site.",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:N, or auto for a GPU where there is one. Default: auto.", show_default=False
    ),
]
Seed = Annotated[int | None, typer.Option(help="Overrides job.seed.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="TABLE.KEY=VALUE", help="Overrides any key of the job.", show_default=False
    ),
]


def hospitals_of(
    job_file: Path,
    *,
    data: Path | None,
    site: list[Path] | None,
    sites: int | None,
    partition: str | None,
    scanner_shift: bool,
    test: float | None,
    validation: float | None,
) -> "Hospitals":
    """Return where the hospitals of a rehearsal come from.

    Raises:
        RunError: Two of the options exclude each other.
    """
    from client.data.manifest.splits import SplitTable
    from shared.errors import RunError
    from simulate.session.session import Hospitals

    shares = given(test=test, validation=validation)
    if site and (data or sites or partition or shares):
        raise RunError("goes without --data, --sites, --partition, --test and --validation", where="--site")
    return Hospitals(
        site or [], data, sites, partition, scanner_shift, None, SplitTable(**shares), job_file.parent
    )


def command() -> str:
    """Return what was typed, for the report; it holds nothing secret."""
    return shlex.join(["wardround", *sys.argv[1:]])


def given(**options: Any) -> dict[str, Any]:
    """Return the options that somebody gave."""
    return {name: value for name, value in options.items() if value is not None}


_QUICK = {"job.rounds": 1, "training.local_epochs": None, "training.local_steps": 1}


def overrides_of(
    pairs: list[str] | None, seed: int | None = None, rounds: int | None = None, *, quick: bool = False
) -> dict[str, Any]:
    """Return what `--set`, `--seed`, `--rounds` and `--quick` change in a job, by dotted keys."""
    overrides: dict[str, Any] = dict(_QUICK) if quick else {}
    for pair in pairs or ():
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
