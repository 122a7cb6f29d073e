"""`wardround store`: what was predicted into a hospital's archive of images."""

from pathlib import Path
from typing import Annotated

import typer

from client.cli.folder import HERE, Logging
from shared.cli.answer import Json, answer


def store(
    folder: Annotated[Path, typer.Argument(help="Of predictions in DICOM.", show_default=False)],
    to: Annotated[
        str,
        typer.Argument(metavar="ARCHIVE", help="URL of its DICOMweb, or pacs.toml.", show_default=False),
    ],
    site: Logging = HERE,
    json: Json = False,
) -> None:
    """Send what `predict --as dicom-...` wrote to an archive (STOW-RS); what it has already it keeps once.

    It stands in the site's audit log.
    """
    from rich.console import Console

    from client.cli.progress_bar import tracked
    from client.cli.site_log import stored_note
    from client.pacs.archive_settings import archive
    from client.pacs.results import stored_results
    from client.pacs.stow import Store
    from shared.text.plural import many

    console = Console(stderr=json)
    store = Store.of(archive(to), stored_note(site))
    sent = stored_results(folder, store, lambda own: tracked(own, console, "Storing"))
    answer(json, f"{many(sent, 'object')} stored", folder=folder, stored=sent)
