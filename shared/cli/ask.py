"""A question before something is done, for commands that also take `--yes` and `--json`."""

from typing import Annotated

import typer

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def confirm(question: str, *, yes: bool, as_json: bool) -> None:
    """Ask whether to go on; a no ends the command.

    Raises:
        BadParameter: Nobody can be asked, since the answer is one JSON object, and nobody said yes before.
    """
    if yes:
        return
    if as_json:
        raise typer.BadParameter("--json asks nothing: give --yes too")
    typer.confirm(question, abort=True)
