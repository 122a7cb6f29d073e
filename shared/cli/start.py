"""`wardround job start`: the weights that a job starts from, made of whatever file has them."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli.answer import Json, answer

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.networks.start_weights import Match

_SHOWN = 5  # names of tensors in the answer, at most


def start(
    file: Annotated[
        Path,
        typer.Argument(
            help="Weights: .safetensors, .pt or .pth, or the folder of a run or of a MONAI bundle.",
            show_default=False,
        ),
    ],
    job: Annotated[
        Path, typer.Option(help="Job file whose network is to start from them.", show_default=False)
    ],
    role: Annotated[
        str | None, typer.Option(help="Which network, of a job that has several.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. Default: the same name, beside the job.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Match weights with a job's network, write what fits as safetensors, and print the keys for the job.

    The file goes to the coordinator's folder `starts`. Nothing is overwritten.
    """
    from shared.job.schema import load_job
    from shared.job_parts import networks_of
    from shared.networks.build import build_model, models_of
    from shared.networks.start_weights import digest_of, match
    from shared.start_files import weights_in, write_start

    out = out or job.parent / f"{_name(file)}.safetensors"
    table = "model" if role is None else f"model.{role}"
    keys = {"start": out.stem, "start_sha256": "0" * 64, "fresh": None}  # the digest is not known yet
    asked = load_job(job, {f"{table}.{key}": value for key, value in keys.items()})
    [network] = [own for own in networks_of(asked) if own.table == table]
    found = match(models_of(build_model(asked, started=False, adapted=False))[network.role], weights_in(file))
    found.require_same_norm(table)
    write_start(out, found.taken)
    digest = digest_of(found.taken)
    lines = [f'start = "{out.stem}"', f'start_sha256 = "{digest}"']
    if found.fresh:
        lines.append("fresh = [" + ", ".join(f'"{part}"' for part in found.fresh) + "]")
    matched = [f"  {line}" for line in _matched(found)]
    said = [f"{out}: written", *matched, f"For {job}:", f"[{table}]", *lines]
    answer(
        json,
        said,
        file=out,
        start=out.stem,
        start_sha256=digest,
        fresh=found.fresh,
        taken=len(found.taken),
        drawn=found.missing,
        unused=found.unused,
    )


def starts_in_words(job: "JobSpec", folder: Path) -> str:
    """Return what the files of weights in a folder have for the networks of a job that starts from them.

    Raises:
        JobError: A file is not the one that the job names, or leaves open what the job does not draw.
    """
    from shared.job_parts import networks_of
    from shared.networks.build import build_model, models_of
    from shared.networks.start_weights import put_into
    from shared.start_files import read_start

    models, said = models_of(build_model(job, started=False, adapted=False)), []
    for network in networks_of(job):
        if network.options.start_sha256 is None:
            continue
        file = folder / f"{network.options.start}.safetensors"
        if file.exists():
            found = put_into(models[network.role], network.options, read_start(file))
            said.append(f"{file.name}: " + "; ".join(_matched(found)))
        else:
            said.append(f"{file.name} is not here to be checked; the coordinator must have it")
    return "; ".join(said)


def _matched(found: "Match") -> list[str]:
    """Return what was taken of a file and what was not, in words."""
    from shared.text.plural import many

    missing, unused = found.missing, found.unused
    lines = [f"taken: {many(len(found.taken), 'tensor')} of the network"]
    if missing:
        lines.append(f"not in the file, and drawn: {many(len(missing), 'tensor')} ({_some(missing)})")
    if unused:
        lines.append(f"without a place in the network: {many(len(unused), 'tensor')} ({_some(unused)})")
    return lines


def _some(names: list[str]) -> str:
    from shared.text.printable import printable

    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(printable(name) for name in names[:_SHOWN]) + more


def _name(file: Path) -> str:
    """Return a name for weights, made of the name of a file or folder."""
    return re.sub(r"[^a-z0-9]+", "-", file.resolve().stem.lower()).strip("-") or "start"
