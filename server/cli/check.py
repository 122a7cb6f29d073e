"""`wardround server check`: what can go wrong at a coordinator, before it does."""

import typer

from server.cli.enrol import HERE, Folder
from shared.cli.answer import Json


def add_check_command(app: typer.Typer) -> None:
    """Add this module's commands to `wardround server`."""
    app.command()(check)
    app.command()(schema)


def check(folder: Folder = HERE, json: Json = False) -> None:
    """Look at settings, ports, keys, registry, audit log, machine and Flower; exit code 2 if a line fails."""
    from server.service.check import check_coordinator
    from shared.cli.findings import report_findings

    if report_findings(check_coordinator(folder), as_json=json):
        raise typer.Exit(2)


def schema() -> None:
    """Print the JSON Schema of `server.toml`."""
    from server.folder.coordinator import ServerConfig
    from shared.json_schema import schema_text

    print(schema_text(ServerConfig), end="")
