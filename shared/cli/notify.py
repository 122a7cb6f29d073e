"""What the `notify` commands of both sides have in common."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli.answer import answer

if TYPE_CHECKING:
    from shared.notify.settings import NotifyTable

Test = Annotated[bool, typer.Option("--test", help="Send a test through every channel, now.")]


def report_channels(settings: "NotifyTable", source: str, folder: Path, *, test: bool, as_json: bool) -> None:
    """Say which channels are set up and what waits to be sent, or try each; a failure ends with 2.

    Args:
        settings: Of `site.toml` or `server.toml`.
        source: Who tells.
        folder: Where the outbox lies.
        test: Try each.
        as_json: Print one JSON object.
    """
    from shared.notify.channels import try_all
    from shared.notify.outbox import FILE, Outbox
    from shared.text.printable import printable_lines

    channels = settings.channels()
    if not channels:
        answer(
            as_json, "Nobody is told: [notify] names no channel; see docs/notify.md.", channels={}, waiting=0
        )
        if test:
            raise typer.Exit(2)
        return
    outcome = try_all(settings, source) if test else dict.fromkeys(channels)
    well = "taken" if test else "set up"
    lines = [
        f"{name:<8} {well if problem is None else f'failure: {printable_lines(problem)}'}"
        for name, problem in outcome.items()
    ]
    waiting = Outbox(folder / FILE).waiting() if (folder / FILE).exists() else 0
    if waiting:
        lines.append(f"{waiting} still to be sent")
    answer(as_json, lines, channels=outcome, waiting=waiting)
    if any(outcome.values()):
        raise typer.Exit(2)
