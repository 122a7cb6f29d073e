"""What the `audit` commands of both sides have in common."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.answer import answer
from shared.text.plural import many
from shared.text.printable import printable

Last = Annotated[int, typer.Option(min=1, help="How many of the newest entries.")]
Event = Annotated[str | None, typer.Option(help="Only entries of this event.", show_default=False)]
Head = Annotated[
    str | None,
    typer.Option(help="A head kept elsewhere, NUMBER:HASH: also shows if the end was cut off."),
]


def print_entries(folder: Path, last: int, event: str | None, *, as_json: bool) -> None:
    """Print the newest entries of a log, newest last.

    Args:
        folder: Of the log.
        last: So many.
        event: Only entries of this event; None takes all.
        as_json: Print one JSON object.
    """
    from itertools import islice

    from shared.audit.newest_first import newest_first

    found = (entry for entry in newest_first(folder) if event in {None, entry.event})
    newest = list(islice(found, last))[::-1]
    lines = []
    for entry in newest:
        fields = "  ".join(f"{name}={value}" for name, value in sorted(entry.fields.items()))
        lines.append(printable(f"{entry.seq:>6}  {entry.time[:19]}Z  {entry.event:<18} {fields}".rstrip()))
    told = [
        {"seq": entry.seq, "time": entry.time, "event": entry.event, "fields": entry.fields}
        for entry in newest
    ]
    answer(as_json, lines, entries=told)


def check_log(folder: Path, key_file: Path, head: str | None, *, as_json: bool) -> None:
    """Check a log and print what is wrong with it, which ends the command with 2.

    Args:
        folder: Of the log.
        key_file: The key that signs it now.
        head: One that was kept elsewhere.
        as_json: Print one JSON object.

    Raises:
        WardroundError: The key, the head or a file can't be read.
    """
    from shared.audit.newest_first import newest_first
    from shared.audit.verify import verify
    from shared.pki.certificates import load_key

    problems = verify(folder, load_key(key_file).public_key(), head)
    if problems:
        lines = [*map(printable, problems), f"The audit log is not whole: {many(len(problems), 'problem')}."]
        answer(as_json, lines, whole=False, head=None, problems=list(map(str, problems)))
        raise typer.Exit(2)
    found = next((entry.head for entry in newest_first(folder)), None)
    lines = [] if found is None else [f"The audit log is whole. Its head: {found}"]
    if head is None:
        lines.append("Whether its end was cut off shows only against a head that is kept elsewhere: --head.")
    answer(as_json, lines, whole=True, head=found, problems=[])
