"""`wardround data ...`: what a hospital, or a researcher, asks about a dataset."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.data_ask import ask
from client.cli.data_harmonise import harmonise
from client.cli.data_import import import_
from client.cli.data_pull import pull
from shared.cli.answer import Json, answer
from shared.cli.app import App, task_names
from shared.text.plural import many

if TYPE_CHECKING:
    from rich.console import Console

    from client.data.check.dataset_check import Report
    from client.data.check.expected import Expected
    from client.data.manifest.splits import Split

MOST = 8  # lines of one kind before the others are counted

data_app = App(help="Look at a dataset.")
data_app.command("import")(import_)
data_app.command()(pull)
data_app.command()(ask)
data_app.command()(harmonise)


@data_app.callback()
def _data() -> None:
    """Look at a dataset."""


@data_app.command()
def check(
    path: Annotated[Path, typer.Argument(help="The manifest, or the folder that holds manifest.csv.")],
    job: Annotated[Path | None, typer.Option(help="Check against this job.")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Without a job: what it would learn, one of: {tasks}.", autocompletion=task_names),
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Without a job: the classes, as 'a,b'.")] = None,
    image: Annotated[list[str] | None, typer.Option(help="Without a job: a column of images.")] = None,
    folder: Annotated[
        Path, typer.Option("--dir", help="The site's folder: its key and shares split the patients.")
    ] = Path(),
    site: Annotated[str | None, typer.Option(help="Only rows with this in their column 'site'.")] = None,
    json: Json = False,
) -> None:
    """Read everything and say what is there; exit code 0 if training is possible, 2 if not."""
    from rich.console import Console

    from client.cli.progress_bar import tracked
    from client.data.check.dataset_check import check_dataset
    from client.data.kinds.tiles import stack_of

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    expected = _expected(path, job, task, classes, image)
    split, whose = _split(path, folder, job)
    report = check_dataset(
        path, expected, split=split, site=site, track=lambda rows: tracked(rows, console, "Reading")
    )
    if json:
        answer(json, split=whose, **_fields(report))
    else:
        console.print(f"split     {whose}", soft_wrap=True, highlight=False)
        render(report, console)
    if (expected.images or stack_of(expected.kinds)) and not json:
        again = shlex.join(["wardround", "data", "look", str(path), *(["--job", str(job)] if job else [])])
        console.print(f"See what a network sees: {again}", soft_wrap=True, highlight=False, markup=False)
    if not report.trainable:
        raise typer.Exit(2)


@data_app.command()
def look(
    path: Annotated[Path, typer.Argument(help="The manifest, or the folder that holds manifest.csv.")],
    job: Annotated[Path | None, typer.Option(help="Prepare and augment as for this job.")] = None,
    out: Annotated[Path | None, typer.Option(help="A new folder; look-NAME by default.")] = None,
    images: Annotated[int, typer.Option(min=1, max=100, help="Images of each site, at most.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the images and their augmentation.")] = 0,
    folder: Annotated[
        Path, typer.Option("--dir", help="The site's folder: its key and shares split the patients.")
    ] = Path(),
    site: Annotated[str | None, typer.Option(help="Only rows with this in their column 'site'.")] = None,
    json: Json = False,
) -> None:
    """Write a page and a contact sheet of images with their targets, as a network sees them.

    They show patients: both can be read by you alone, and belong where the images are.
    """
    from rich.console import Console

    from client.cli.progress_bar import tracked
    from client.data.check.dataset_check import check_dataset
    from client.data.check.expected import Expected
    from client.data.kinds.image_columns import image_columns
    from client.data.kinds.tiles import stack_of
    from client.data.look import Look, write_look
    from client.data.look.write import CONTACT, PAGE
    from client.data.manifest.rows import manifest_path
    from client.data.new_folder import require_new
    from shared.errors import DataError
    from shared.job.schema import load_job

    console = Console()
    name = manifest_path(path).resolve().parent.name
    out = out or Path(f"look-{name}")
    require_new(out)
    spec = load_job(job) if job else None
    expected = Expected.of(spec) if spec else Expected(images=image_columns(path))
    if not expected.images and not stack_of(expected.kinds):
        raise DataError(
            "has no images to look at", where=path, remedy="wardround data check says what it has."
        )
    split, _ = _split(path, folder, job)
    report = check_dataset(
        path, expected, split=split, site=site, track=lambda rows: tracked(rows, console, "Reading")
    )
    write_look(report, Look(spec, images, seed), out, lambda chosen: tracked(chosen, console, "Drawing"))
    said = [str(out / PAGE), str(out / CONTACT)]
    if report.errors:
        said.append(f"{len(report.errors)} rows or more can't be used; the page begins with why.")
    answer(json, said, page=out / PAGE, contact_sheet=out / CONTACT, errors=len(report.errors))


@data_app.command()
def manifest(
    folder: Annotated[
        Path,
        typer.Argument(
            help="BIDS, nnU-Net, Decathlon, images and masks, a folder per class; also per hospital."
        ),
    ],
    patient: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in an image's path.")
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            help="BIDS: a part of the masks' paths, where there are several kinds: desc-tumour_mask."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write the manifest.csv of a folder that has none; nothing is overwritten."""
    from client.data.manifest.new_manifest import write_manifest

    written = write_manifest(folder, patient, masks)
    file, name = written.example
    lines = [
        str(written.path),
        f"{written.kind}: {written.rows} {'image' if written.rows == 1 else 'images'} of {written.patients} "
        f"{'patient' if written.patients == 1 else 'patients'}",
        f"'{file}' is of patient '{name}': if that is not one person, delete the manifest and give --patient",
        *written.doubts(),
        *_said_of_job(written.lines),
        f"Then: {shlex.join(['wardround', 'job', 'new', 'NAME', '--task', 'TASK', '--data', str(folder)])}",
    ]
    answer(
        json,
        lines,
        manifest=written.path,
        kind=written.kind,
        images=written.rows,
        patients=written.patients,
        example={"file": str(file), "patient": name},
        job_data=written.lines,
    )


@data_app.command()
def group(
    path: Annotated[Path, typer.Argument(help="The manifest, or the folder that holds manifest.csv.")],
    out: Annotated[Path, typer.Option(help="The new manifest.")],
    by: Annotated[str, typer.Option(help="Column: rows with one value in it are a group.")] = "patient",
    join: Annotated[
        list[str] | None, typer.Option(help="Column of files to join; 'image' by default.")
    ] = None,
    order: Annotated[str | None, typer.Option(help="Column of numbers that orders a group's rows.")] = None,
    label: Annotated[str | None, typer.Option(help="Column that becomes 'label'.")] = None,
    json: Json = False,
) -> None:
    """Write a manifest with one row per group of rows: bags or series of their images."""
    from client.data.manifest.grouping import Grouping, write_grouped

    made = write_grouped(path, out, Grouping(by, join or ["image"], order, label))
    least, most = made.sizes
    lines = [f"{made.path}", f"{many(made.rows, 'row')}, of {least} to {most} rows each"]
    if made.left_out:
        lines.append(f"left out, as they differ within a {by}: {', '.join(made.left_out)}")
    answer(json, lines, manifest=made.path, rows=made.rows, sizes=made.sizes, left_out=made.left_out)


@data_app.command()
def join(
    path: Annotated[Path, typer.Argument(help="The manifest, or the folder that holds manifest.csv.")],
    table: Annotated[Path, typer.Argument(help="A CSV with further columns: clinic, laboratory, genes.")],
    out: Annotated[Path, typer.Option(help="The new manifest.")],
    by: Annotated[
        str, typer.Option(help="Column of the manifest that finds the row in the table.")
    ] = "patient",
    theirs: Annotated[str, typer.Option(help="The same in the table, where it is called otherwise.")] = "",
    drop: Annotated[bool, typer.Option("--drop", help="Leave out rows that the table has not.")] = False,
    json: Json = False,
) -> None:
    """Put the columns of a second table beside the rows of a manifest, into a new one."""
    from client.data.manifest.joining import join as join_tables

    joined = join_tables(path, table, out, by=by, theirs=theirs, drop=drop)
    lines = [
        str(joined.path),
        f"{many(joined.rows, 'row')}, {joined.matched} with a row in {table}; there, "
        f"{many(joined.unused, 'row')} of none of these",
        f"{many(len(joined.added), 'column')} added",
    ]
    if joined.kept:
        lines.append(f"as the manifest has them: {', '.join(joined.kept)}")
    answer(
        json,
        lines,
        manifest=joined.path,
        rows=joined.rows,
        matched=joined.matched,
        unused=joined.unused,
        added=list(joined.added),
        kept=list(joined.kept),
    )


def _said_of_job(lines: Sequence[str]) -> Iterator[str]:
    """Yield what a job says of the data, under its tables."""
    of_data = [line for line in lines if line.startswith(("images", "channels"))]
    of_task = [line for line in lines if line not in of_data]
    if lines:
        yield "A job says (job new --data fills it in):"
    for table, own in (("data", of_data), ("task", of_task)):
        if own:
            yield f"  [{table}]"
            yield from (f"  {line}" for line in own)


def _fields(report: "Report") -> dict[str, object]:
    """Return what `--json` says of a report."""
    counts = {name: dict(getattr(report, name)) for name in ("sizes", "channels", "spacings", "masks")}
    return {
        "manifest": str(report.manifest),
        "trainable": report.trainable,
        "images": report.images,
        "patients": report.patients,
        **counts,
        "labels": {label or "": dict(sides) for label, sides in report.labels.items()},
        "unlabelled": {side: rows for side, rows in report.unlabelled.items() if rows},
        "warnings": list(map(str, report.warnings)),
        "errors": [str(error) for error in report.errors],
    }


def _split(path: Path, folder: Path, job: Path | None) -> "tuple[Split, str]":
    """Return how the patients of a manifest are split, and whose split it is."""
    from client.data.manifest.rows import manifest_path
    from client.data.manifest.splits import CohortKey, Split
    from client.guard.cohort import Cohort
    from client.settings.site import load_site
    from shared.job.schema import load_job

    manifest = manifest_path(path).resolve()
    offered = load_site(folder / "site.toml").datasets if (folder / "site.toml").exists() else {}
    cohort = Cohort.rehearsed(folder) if offered else None
    for name, table in offered.items():
        if cohort is not None and manifest_path(table.manifest).resolve() == manifest:
            own = cohort.split(name, table.split, table.collection)
            return own, f"as jobs for '{name}' see it at this site"
    seed = load_job(job).job.seed if job else 0
    return Split(CohortKey.drawn(seed)), (
        f"as in a simulation with seed {seed}; a hospital's own key gives another (--dir FOLDER)"
    )


def _expected(
    path: Path, job: Path | None, task: str | None, classes: str | None, images: Sequence[str] | None
) -> "Expected":
    from client.data.check.expected import Expected
    from client.data.kinds.image_columns import image_columns
    from shared.errors import JobError
    from shared.job.schema import load_job
    from shared.tasks import TASKS
    from shared.text.names import suggestion

    if job is not None:
        given = {"--task": task, "--classes": classes, "--image": images}
        if named := [option for option, value in given.items() if value]:
            raise JobError(f"{named[0]}: the job says this", remedy=f"Leave out {named[0]}, or --job.")
        return Expected.of(load_job(job))
    if task is not None and task not in TASKS:
        raise JobError(f"--task: unknown task '{task}'; {suggestion(task, TASKS)}")
    if task is not None and any(field.kind in ("table", "number") for field in TASKS[task].declared.values()):
        raise JobError(f"--task: '{task}' looks at columns that a job names", remedy="Give --job JOB.toml.")
    names = tuple(name.strip() for name in classes.split(",")) if classes else None
    if not images and task is None:
        return Expected(None, names, image_columns(path))
    return Expected(task, names, tuple(images or ["image"]))


def render(report: "Report", console: "Console") -> None:
    """Print a report: what there is, then what is wrong, then whether training is possible."""
    console.print(f"[bold]{report.manifest}[/]", soft_wrap=True, highlight=False)
    console.print(
        f"{many(report.images, report.unit)} of {many(report.patients, 'patient')}", highlight=False
    )
    _sites(report, console)
    if len(report.sizes) > MOST:
        console.print(f"size      {_range(report.sizes)}, {len(report.sizes)} sizes", highlight=False)
    else:
        _line("size", report.sizes, report.images, console)
    _line("channels", report.channels, report.images, console)
    _line("spacing", report.spacings, report.images, console)
    _labels(report, console)
    if report.read_masks:
        console.print(f"masks     {report.read_masks}, of which {report.empty_masks} empty", highlight=False)
        _line("in masks", report.masks, None, console)
    if report.unlabelled.total():
        _line(
            "unlabelled",
            Counter({f"in {side}": rows for side, rows in report.unlabelled.items() if rows}),
            None,
            console,
        )
    for name, tally in report.tallies.items():
        for line in tally.lines():
            console.print(f"{name:<9} {line}", soft_wrap=True, highlight=False, markup=False)
    for site, tally in report.events.items():
        console.print(f"{site:<9} {', '.join(tally.lines())}", soft_wrap=True, highlight=False, markup=False)
    for line in _problems(report):
        console.print(line, soft_wrap=True, highlight=False)


def _range(sizes: Iterable[str]) -> str:
    """Return '31x40 to 43x59': the smallest and the largest along each axis."""
    axes = list(zip(*([int(length) for length in size.split("x")] for size in sizes), strict=False))
    return " to ".join("x".join(str(pick(axis)) for axis in axes) for pick in (min, max))


def _sites(report: "Report", console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold" if console.is_terminal else "")
    table.add_column(f"{report.unit}s (patients)")
    for side in ("train", "val", "test"):
        table.add_column(side, justify="right", min_width=11)
    for site, sides in report.sites.items():
        table.add_row(Text(site), *(f"{images} ({patients})" for patients, images in sides.values()))
    console.print()
    console.print(table)
    console.print()


def _labels(report: "Report", console: "Console") -> None:
    totals = Counter({label or "(none)": sides.total() for label, sides in report.labels.items()})
    _line("labels", totals, None, console)


def _line(title: str, counts: Counter[str], all_of: int | None, console: "Console") -> None:
    """Print 'size   128x128 (all)' or the commonest values with their counts."""
    from rich.markup import escape

    if not counts:
        return
    shown = [name if number == all_of else f"{name} ({number})" for name, number in counts.most_common(MOST)]
    more = f", {len(counts) - MOST} more" if len(counts) > MOST else ""
    console.print(escape(f"{title:<9} {', '.join(shown)}{more}"), soft_wrap=True, highlight=False)


def _problems(report: "Report") -> Iterator[str]:
    from rich.markup import escape

    from client.data.check.problems import shown_by_kind

    yield ""
    for warning in report.warnings:
        yield f"[yellow]warning[/]  {escape(warning)}"
    for error, more in shown_by_kind(report.errors):
        yield f"[red]error[/]    {escape(str(error))}"
        if more:
            yield f"         and {more} more of this kind"
    number = len(report.errors)
    if report.trainable:
        yield "[green]Training is possible.[/]"
    else:
        yield f"[red]Training is not possible:[/] {number} {'error' if number == 1 else 'errors'}."
