"""`wardround track`: a run that has ended, in the trackers that a researcher keeps."""

from pathlib import Path
from typing import Annotated

import typer

from server.cli.report import Local, run_folder
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
    json: Json = False,
) -> None:
    """Write a run that has ended into TensorBoard, MLflow or Weights & Biases (offline)."""
    from server.track.settings import settings_file, targets_of
    from shared.errors import RunError
    from shared.run_folder import RunRecord

    record = RunRecord.read(run_folder(run, local))
    targets = targets_of(to)
    if not targets:
        remedy = f"Give --to tensorboard:FOLDER, or name trackers under [track] in {settings_file()}."
        raise RunError("no tracker is named", where=run, remedy=remedy)
    from server.track.tracker import track_finished

    track_finished(record, targets)
    answer(json, targets, run=record.path, to=targets)
