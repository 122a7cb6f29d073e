"""What commands that take a finished run have in common."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def folder_of_run(run: Path) -> Path:
    """Return the folder of a run; refuse another one before the seconds that PyTorch takes to load.

    Raises:
        RunError: It is not the folder of a run.
    """
    from shared.run_folder import RunRecord

    RunRecord.read(run)
    return run


Run = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="Folder of a finished run.", show_default=False, callback=folder_of_run
    ),
]
Model = Annotated[
    Literal["best", "last"], typer.Option(help="The model that was tested, or that of the last round.")
]
