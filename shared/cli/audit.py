"""What the `audit` commands of both sides have in common."""

from pathlib import Path
from typing import Annotated

import typer

from shared.text.printable import printable

Last = Annotated[int, typer.Option(min=1, help="So many of the newest entries.")]
Event = Annotated[str | None, typer.Option(help="Only entries of this event.", show_default=False)]
Head = Annotated[
    str | None,
    typer.Option(help="A head kept elsewhere, NUMBER:HASH: also shows if the end was cut off."),
]


def print_entries(folder: Path, last: int, event: str | None) -> None:
    """Print the newest entries of a log, newest last.

    Args:
        folder: Of the log.
        last: So many.
        event: Only entries of this event; None takes all.
    """
    from collections import deque

    from shared.audit.verify import entries

    found = (entry for entry in entries(folder) if event in {None, entry.event})
    for entry in deque(found, maxlen=last):
        fields = "  ".join(f"{name}={value}" for name, value in sorted(entry.fields.items()))
        print(printable(f"{entry.seq:>6}  {entry.time[:19]}Z  {entry.event:<18} {fields}".rstrip()))


def print_problems(folder: Path, key_file: Path, head: str | None) -> int:
    """Check a log and print what is wrong with it; returns the number of problems.

    Args:
        folder: Of the log.
        key_file: The key that signs it now.
        head: One that was kept elsewhere.

    Raises:
        WardroundError: The key, the head or a file can't be read.
    """
    from collections import deque

    from shared.audit.verify import entries, verify
    from shared.pki.certificates import load_key

    problems = verify(folder, load_key(key_file).public_key(), head)
    for problem in problems:
        print(printable(problem))
    if problems:
        print(
            f"The audit log is not whole: {len(problems)} {'problem' if len(problems) == 1 else 'problems'}."
        )
        return len(problems)
    for entry in deque(entries(folder), maxlen=1):
        print(f"The audit log is whole. Its head: {entry.head}")
    if head is None:
        print("Whether its end was cut off shows only against a head that is kept elsewhere: --head.")
    return 0
