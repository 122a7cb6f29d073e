"""How a command answers: lines for people, or the same as one JSON object with `--json`."""

import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print the answer as one JSON object; docs/cli.md has its keys.")
]


def answer(as_json: bool, lines: Iterable[object] | str = (), /, **keys: Any) -> None:
    """Print what a command found or did, once, when it is done.

    Args:
        as_json: Print the object instead of the lines.
        lines: For people; texts of somebody else are printable already.
        keys: The object's, besides `command`: which one answers.
    """
    if as_json:
        print(json.dumps({"command": _command(), **keys}, indent=2, default=_plain), flush=True)
        return
    for line in [lines] if isinstance(lines, str) else lines:
        print(line, flush=True)


def answer_line(**keys: Any) -> None:
    """Print one object of an answer that comes bit by bit (JSON Lines): each is a line, with `command`."""
    print(json.dumps({"command": _command(), **keys}, default=_plain), flush=True)


def _command() -> str:
    """Return what stands behind `wardround`: `client jobs`."""
    import click

    return click.get_current_context().command_path.partition(" ")[2]


def _plain(value: object) -> object:
    """Return what JSON has no type for: a path and a moment are texts."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not for JSON")
