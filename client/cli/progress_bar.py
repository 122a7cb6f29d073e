"""A bar for work on many images."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


def tracked(items: Sequence[T], console: "Console", what: str) -> Iterable[T]:
    """Show a bar on a terminal, which goes away when done."""
    if not console.is_terminal:
        return items
    from rich.progress import track

    return track(items, description=what, console=console, transient=True)
