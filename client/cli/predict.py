"""`wardround predict`: a finished run's model on images."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from shared.cli.answer import Json, answer

if TYPE_CHECKING:
    from shared.finished_run import FinishedRun, Which

_MOST = 20  # problems that are named before "and so many more"


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.", show_default=False)],
    out: Annotated[Path, typer.Option(help="A new folder for what is predicted.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(help="A manifest, its folder, or a folder of images.", show_default=False),
    ] = None,
    model: Annotated[
        Literal["best", "last"], typer.Option(help="The model that was tested, or that of the last round.")
    ] = "best",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N or auto.")] = "auto",
    json: Json = False,
) -> None:
    """Write scores, masks, boxes and a page for each image; exit code 2 if one could not be used."""
    from shared.run_folder import RunRecord

    RunRecord.read(run)  # before the seconds that PyTorch takes
    from rich.console import Console

    from client.data.kinds import kinds_of
    from client.data.new_folder import require_new
    from client.predict.answering import Predictor
    from client.predict.rows import find_rows
    from client.predict.samples import write_samples
    from client.predict.write import PAGE, write_predictions
    from client.training.device import open_device
    from shared.errors import RunError
    from shared.finished_run import FinishedRun
    from shared.tasks.base import Task
    from shared.text.plural import many

    require_new(out)
    finished = FinishedRun.read(run)
    predictor = Predictor.of(finished, model, open_device(device))
    lines, console = _lines(finished, model), Console(stderr=json)
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if type(predictor.task).draw is not Task.draw:
        if data is not None:
            raise RunError("draws images of nobody and says nothing of yours: leave out --data", where=run)
        drawn = write_samples(predictor, out, lines)
        answer(json, f"{many(drawn, 'image')} drawn: {out / PAGE}", page=out / PAGE, drawn=drawn)
        return
    predictor.require_answers()
    if data is None:
        raise RunError("says something of images: give --data", where=run)
    manifest = find_rows(data, finished.job, kinds_of(finished.job))
    counts = write_predictions(
        predictor, manifest, out, lines, lambda said, rows: _tracked(said, rows, console)
    )
    said = f"{many(counts.predicted, 'row')} predicted: {out / PAGE}"
    answer(json, said, page=out / PAGE, predicted=counts.predicted, problems=len(counts.problems))
    if counts.problems:
        _name(counts.problems)
        raise typer.Exit(2)


def _lines(run: "FinishedRun", which: "Which") -> list[str]:
    """Say which model it is."""
    from shared.run_folder import BEST

    is_best = run.file(which).name == BEST
    what = "chosen on validation patients" if is_best else "the last"
    lines = [
        f"Model of round {run.round_of(which)} of {run.rounds} of the run {run.path.resolve().name}, {what}."
    ]
    if which == "best" and not is_best:
        lines.append("The job chooses no best round.")
    if run.sites_judge_their_own:
        lines.append(
            f"With '{run.job.strategy.name}' each site has a model of its own, which stays there: this is "
            "the shared one, and the figures of the run are of theirs."
        )
    return lines


def _tracked(items: Iterable[Any], count: int, console: Any) -> Iterable[Any]:
    if not console.is_terminal:
        return items
    from rich.progress import track

    return track(items, "Predicting", total=count, console=console, transient=True)


def _name(problems: list[Any]) -> None:
    """Print what was wrong, to the error output."""
    from shared.text.plural import many
    from shared.text.printable import printable_lines

    for problem in problems[:_MOST]:
        print(f"error: {printable_lines(problem)}", file=sys.stderr)
    left = len(problems) - _MOST
    if left > 0:
        print(f"error: {left} more; all are on the page", file=sys.stderr)
    print(f"error: {many(len(problems), 'row')} could not be used", file=sys.stderr)
