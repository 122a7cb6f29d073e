"""`wardround login`: from now on `submit`, `runs` and the others ask this coordinator."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli.answer import Json, answer

if TYPE_CHECKING:
    from server.folder.login import Code


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
    account: Annotated[
        bool,
        typer.Option("--account", help="Log in with your institution's account, in a browser, not a token."),
    ] = False,
    json: Json = False,
) -> None:
    """Log in to a coordinator: with the token that its operator handed out, or with an account."""
    from server.folder.login import log_in, login_file, token_by_account

    if account and token_file:
        raise typer.BadParameter("an account needs no --token-file")
    token = token_by_account(url, authority, _show) if account else _read_token(token_file)
    name, role = log_in(url, authority, token)
    said = f"logged in as {name} ({role}); the token is in {login_file()}"
    answer(json, said, name=name, role=role, file=login_file())


def _show(code: "Code") -> None:
    lines = (
        f"Open {code.address} in a browser, on whatever machine.",
        f"Confirm only if it shows this code: {code.text}  ({code.seconds / 60:.0f} minutes)",
    )
    print(*lines, sep="\n", file=sys.stderr)


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
