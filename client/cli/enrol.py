"""`wardround client enrol, renew`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from shared.pki.join_string import Join

Folder = Annotated[
    Path,
    typer.Option("--dir", envvar="WARDROUND_SITE_DIR", help="Folder with site.toml and keys/."),
]
SubFolder = Annotated[
    Path | None, typer.Option("--dir", help="The site's folder, as before the command.", show_default=False)
]
HERE = Path()


def add_enrolment_commands(app: typer.Typer) -> None:
    """Add this module's commands to `wardround client`."""
    app.command()(enrol)
    app.command()(renew)


def enrol(
    join: Annotated[str, typer.Argument(help="Join string, or - to read it from stdin.", show_default=False)],
    folder: Folder = HERE,
    request_out: Annotated[
        Path | None, typer.Option(help="Without a network: write the request here, for `server sign`.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="Without a network: finish with the file that `server sign` wrote.")
    ] = None,
) -> None:
    """Join a federation: make this site's key, have it certified, write site.toml and keys/."""
    from client.settings import enrolment

    invitation = _read_join(join)
    if request_out is not None and certificate is not None:
        raise typer.BadParameter("--request-out comes first, --certificate when the answer is there")
    if request_out is not None:
        key = enrolment.write_request(invitation, folder, request_out)
        print(f"{request_out}: send it to the coordinator's operator, and read out by telephone:\n  {key}")
        return
    if certificate is not None:
        enrolment.accept_certificate(invitation, folder, certificate)
    else:
        enrolment.enrol(invitation, folder)
    print(f"'{invitation.site}' has joined. Now name its datasets in {folder / 'site.toml'}.")


def renew(
    folder: Folder = HERE,
    new_key: Annotated[bool, typer.Option("--new-key", help="Change the key too, then restart.")] = False,
) -> None:
    """Renew this site's certificate; the service does so by itself when a third of its life is left."""
    from client.settings.enrolment import renew as renew_certificate

    renewed = renew_certificate(folder, change_key=new_key)
    print(f"{folder / 'keys' / 'site.crt'}: valid until {renewed.not_valid_after_utc:%Y-%m-%d}")


def _read_join(text: str) -> "Join":
    from shared.pki.join_string import parse_join

    return parse_join(sys.stdin.read() if text == "-" else text)
