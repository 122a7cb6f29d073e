"""`wardround login`: from now on `submit`, `runs` and the others ask this coordinator."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from shared.cli.answer import Json, answer


def login(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="https://HOST:PORT, the coordinator's port for people.")
    ],
    authority: Annotated[
        str,
        typer.Option(
            metavar="FINGERPRINT|FILE",
            help="The federation's authority: SHA-256 fingerprint, or its certificate.",
            show_default=False,
        ),
    ],
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token; else it is asked for, or read from stdin.")
    ] = None,
    json: Json = False,
) -> None:
    """Log in to a coordinator with the token that its operator handed out."""
    from server.folder.login import log_in, login_file

    name, role = log_in(url, authority, _read_token(token_file))
    said = f"logged in as {name} ({role}); the token is in {login_file()}"
    answer(json, said, name=name, role=role, file=login_file())


def _read_token(file: Path | None) -> str:
    """Return the token: never from the command line, where other users of the machine can see it."""
    import getpass

    from server.folder.login import LoginError

    if file is not None:
        try:
            return file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise LoginError("can't be read, or holds no token", where=file) from None
    if sys.stdin.isatty():
        return getpass.getpass("Token: ").strip()
    return sys.stdin.readline(200).strip()
