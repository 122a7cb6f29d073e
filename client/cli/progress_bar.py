"""Bars for work on many images or files."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

    from client.dicom_import.run import Progress

T = TypeVar("T")


def tracked(items: Iterable[T], console: "Console", what: str, total: int | None = None) -> Iterable[T]:
    """Show a bar on a terminal, which goes away when done.

    Args:
        items: To work on.
        console: The terminal, or none.
        what: Is done with them.
        total: How many they are, where they have no length.
    """
    if not console.is_terminal:
        return items
    from rich.progress import track

    return track(items, description=what, total=total, console=console, transient=True)


@contextmanager
def bars() -> "Iterator[Progress]":
    """Give what draws a bar for each thing that is done; nothing where nobody looks."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what, count, total: None
        return
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, Callable[[int], None]] = {}

        def show(what: str, count: int, total: int | None) -> None:
            if what not in tasks:
                task = bars.add_task(what, total=total)
                tasks[what] = lambda more: bars.advance(task, more)
            tasks[what](count)

        yield show
