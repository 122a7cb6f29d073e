"""`wardround server check`: what can go wrong at a coordinator, before it does."""

import typer

from server.cli.enrol import HERE, Folder


def add_check_command(app: typer.Typer) -> None:
    """Add this module's command to `wardround server`."""
    app.command()(check)


def check(folder: Folder = HERE) -> None:
    """Look at settings, ports, keys, registry, audit log, machine and Flower; exit code 2 if a line fails."""
    from server.service.check import check_coordinator
    from shared.findings import show_findings

    if show_findings(check_coordinator(folder)):
        raise typer.Exit(2)
