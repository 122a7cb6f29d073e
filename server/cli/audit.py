"""`wardround server audit show, verify`: what happened at the coordinator, and proof of it."""

import typer

from server.cli.enrol import HERE, Folder
from shared.cli.audit import Event, Head, Last, print_entries, print_problems

audit_app = typer.Typer(
    help="The coordinator's audit log.", no_args_is_help=True, rich_markup_mode="markdown"
)


@audit_app.command()
def show(folder: Folder = HERE, last: Last = 50, event: Event = None) -> None:
    """Print the newest entries, newest last; nothing is checked (see `verify`)."""
    print_entries(folder / "audit", last, event)


@audit_app.command()
def verify(folder: Folder = HERE, head: Head = None) -> None:
    """Check every entry; exit code 0 if the log is whole, 2 with each problem and its place if not."""
    if print_problems(folder / "audit", folder / "audit.key", head):
        raise typer.Exit(2)
