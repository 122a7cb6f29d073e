"""`wardround track`: a run in the trackers that a researcher keeps, as it goes on or when it has ended."""

from pathlib import Path
from typing import Annotated

import typer

from server.cli.report import Local, run_folder
from server.cli.runs import Folder
from shared.cli.answer import Json, answer

To = Annotated[
    list[str] | None,
    typer.Option(
        help="tensorboard:FOLDER, mlflow:FOLDER (or a server's URI) or wandb:FOLDER; repeat it for several. "
        "Default: those of your settings.toml.",
        show_default=False,
    ),
]


def track(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or its name.")],
    to: To = None,
    local: Local = Path("runs"),
    follow: Annotated[
        bool, typer.Option("--follow", help="Follow a run of a coordinator, by its name, until it ends.")
    ] = False,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Write a run that has ended, or goes on, into TensorBoard, MLflow or Weights & Biases (offline)."""
    from server.track.settings import settings_file, targets_of
    from shared.errors import RunError
    from shared.run_folder import RunRecord

    record = None if follow else RunRecord.read(run_folder(run, local))
    targets = targets_of(to)
    if not targets:
        remedy = f"Give --to tensorboard:FOLDER, or name trackers under [track] in {settings_file()}."
        raise RunError("no tracker is named", where=run, remedy=remedy)
    if record is not None:
        from server.track.tracker import track_finished

        track_finished(record, targets)
        answer(json, targets, run=record.path, to=targets)
        return
    from server.runs.reach import control_of
    from server.track.tracker import track_going

    track_going(control_of(folder), str(run), targets)
    answer(json, targets, run=str(run), to=targets)
