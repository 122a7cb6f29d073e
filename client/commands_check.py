"""`wardround client check`: what can go wrong at a site, before it does."""

from typing import Annotated

import typer

from client.commands_enrol import HERE, Folder


def check(
    folder: Folder = HERE,
    coordinator: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Instead of that of site.toml.", show_default=False),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Leave out what needs the network.")] = False,
) -> None:
    """Look at settings, keys, network, clock, data and machine; exit code 0 if all is well, 2 if not."""
    from rich.console import Console
    from rich.markup import escape

    from client.check import check_site

    console = Console()
    colours = {"ok": "green", "warning": "yellow", "failure": "red"}
    failures = 0
    for finding in check_site(folder, coordinator, offline=offline):
        colour = colours[finding.state]
        text = f"[{colour}]{finding.state:<8}[/] {escape(finding.what):<12} {escape(finding.detail)}"
        console.print(text, soft_wrap=True, highlight=False)
        if finding.remedy:
            console.print(f"{'':<22}{escape(finding.remedy)}", soft_wrap=True, highlight=False)
        failures += finding.state == "failure"
    if failures:
        raise typer.Exit(2)
