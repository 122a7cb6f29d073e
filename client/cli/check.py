"""`wardround client check`: what can go wrong at a site, before it does."""

from typing import Annotated

import typer

from client.cli.folder import HERE, Folder
from shared.cli.answer import Json


def check(
    folder: Folder = HERE,
    coordinator: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Instead of that of site.toml.", show_default=False),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Leave out what needs the network.")] = False,
    json: Json = False,
) -> None:
    """Look at settings, keys, network, clock, data and machine; exit code 0 if all is well, 2 if not."""
    from client.service.check import check_site
    from shared.cli.findings import report_findings

    report_findings(check_site(folder, coordinator, offline=offline), as_json=json)
