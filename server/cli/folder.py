"""The coordinator's folder, as commands take it: `--dir`, $WARDROUND_SERVER_DIR, or where they run."""

from pathlib import Path
from typing import Annotated

import typer


def coordinator_folder(folder: Path) -> Path:
    """Return the folder of a coordinator; refuse one in which nobody ever founded a federation.

    Raises:
        FolderError: Neither settings nor a registry nor an authority are there.
    """
    if any((folder / name).exists() for name in ("server.toml", "registry.sqlite", "ca")):
        return folder
    from server.folder.coordinator import FolderError

    remedy = "`wardround server init` makes one; where it is elsewhere, name it with --dir."
    raise FolderError("is not the folder of a coordinator", where=folder, remedy=remedy)


Folder = Annotated[
    Path,
    typer.Option(
        "--dir",
        envvar="WARDROUND_SERVER_DIR",
        help="Folder made by `wardround server init`.",
        callback=coordinator_folder,
    ),
]
HERE = Path()
