"""What commands have in common that ask a run's model about images."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

_MOST = 20  # problems that are named before the others are counted

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:N or auto.")]


def plain_lines(console: "Console") -> Callable[[str], None]:
    """Return what prints a line as it is, however long."""
    return lambda line: console.print(line, soft_wrap=True, highlight=False, markup=False)


def end_with(problems: Sequence[Any]) -> None:
    """Name the rows that could not be used, to the error output, and end with code 2 if there are any."""
    from shared.text.plural import many
    from shared.text.printable import printable_lines

    if not problems:
        return
    for problem in problems[:_MOST]:
        print(f"error: {printable_lines(problem)}", file=sys.stderr)
    left = len(problems) - _MOST
    if left > 0:
        print(f"error: {left} more; all are on the page", file=sys.stderr)
    print(f"error: {many(len(problems), 'row')} could not be used", file=sys.stderr)
    raise typer.Exit(2)
