"""`wardround client audit show, verify`: what happened here, and proof that nobody changed the record."""

from typing import Annotated

import typer

from client.commands_enrol import HERE, Folder

audit_app = typer.Typer(help="The site's audit log.", no_args_is_help=True, rich_markup_mode="markdown")


@audit_app.command()
def show(
    folder: Folder = HERE,
    last: Annotated[int, typer.Option(min=1, help="So many of the newest entries.")] = 50,
    event: Annotated[str | None, typer.Option(help="Only entries of this event.", show_default=False)] = None,
) -> None:
    """Print the newest entries, newest last; nothing is checked (see `verify`)."""
    from collections import deque

    from shared.audit_verify import entries

    found = (entry for entry in entries(folder / "audit") if event in {None, entry.event})
    for entry in deque(found, maxlen=last):
        fields = "  ".join(f"{name}={value}" for name, value in sorted(entry.fields.items()))
        print(f"{entry.seq:>6}  {entry.time[:19]}Z  {entry.event:<18} {fields}".rstrip())


@audit_app.command()
def verify(
    folder: Folder = HERE,
    head: Annotated[
        str | None,
        typer.Option(help="A head kept elsewhere, NUMBER:HASH: also shows if the end was cut off."),
    ] = None,
) -> None:
    """Check every entry; exit code 0 if the log is whole, 2 with each problem and its place if not."""
    from collections import deque

    from shared.audit_verify import entries
    from shared.audit_verify import verify as check
    from shared.pki import load_key

    key = load_key(folder / "keys" / "site.key")
    problems = check(folder / "audit", key.public_key(), head)
    for problem in problems:
        print(problem)
    if problems:
        print(
            f"The audit log is not whole: {len(problems)} {'problem' if len(problems) == 1 else 'problems'}."
        )
        raise typer.Exit(2)
    for entry in deque(entries(folder / "audit"), maxlen=1):
        print(f"The audit log is whole. Its head: {entry.head}")
    if head is None:
        print("Whether its end was cut off shows only against a head that is kept elsewhere: --head.")
