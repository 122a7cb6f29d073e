"""The site's folder, as commands take it: `--dir`, $WARDROUND_SITE_DIR, or where they run."""

from pathlib import Path
from typing import Annotated

import typer

NewFolder = Annotated[
    Path,
    typer.Option("--dir", envvar="WARDROUND_SITE_DIR", help="Folder with site.toml and keys/."),
]


def site_folder(folder: Path) -> Path:
    """Return the folder of a site; refuse one in which no site was ever made, before files are left in it.

    Raises:
        SiteError: Neither settings nor keys are there.
    """
    from shared.errors import SiteError

    if (folder / "site.toml").exists() or (folder / "keys").is_dir():
        return folder
    remedy = "`wardround client enrol` makes one; where it is elsewhere, name it with --dir."
    raise SiteError("is not the folder of a site: no site has enrolled here", where=folder, remedy=remedy)


Folder = Annotated[
    Path,
    typer.Option(
        "--dir",
        envvar="WARDROUND_SITE_DIR",
        help="Folder with site.toml and keys/.",
        callback=site_folder,
    ),
]
SubFolder = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        help="The site's folder, as before the command.",
        show_default=False,
    ),
]
HERE = Path()
Logging = Annotated[
    Path,
    typer.Option(
        "--dir",
        envvar="WARDROUND_SITE_DIR",
        help="The site's folder: what is stored in an archive stands in its audit log.",
    ),
]
