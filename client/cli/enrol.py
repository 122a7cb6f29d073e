"""`wardround client enrol, renew, follow`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.folder import HERE, Folder, NewFolder
from shared.cli.answer import Json, answer

if TYPE_CHECKING:
    from shared.pki.join_string import Join


def enrol(
    join: Annotated[str, typer.Argument(help="Join string, or - to read it from stdin.", show_default=False)],
    folder: NewFolder = HERE,
    request_out: Annotated[
        Path | None, typer.Option(help="Without a network: write the request here, for `server sign`.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="Without a network: finish with the file that `server sign` wrote.")
    ] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="The site has joined before: it gets a new key and certificate, and keeps settings, ledger, "
            "approvals, cohorts and audit log.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Join a federation: make this site's key, have it certified, write site.toml and keys/."""
    from client.settings import enrolment

    invitation = _read_join(join)
    if request_out is not None and certificate is not None:
        raise typer.BadParameter("--request-out comes first, --certificate when the answer is there")
    if request_out is not None:
        key = enrolment.write_request(invitation, folder, request_out, again=again)
        said = [
            f"{request_out}: send it to the coordinator's operator, and read out by telephone:",
            f"  {key}",
        ]
        answer(json, said, site=invitation.site, request=request_out, key=key)
        return
    if certificate is not None:
        enrolment.accept_certificate(invitation, folder, certificate, again=again)
    else:
        enrolment.enrol(invitation, folder, again=again)
    file = folder / "site.toml"
    said = [f"'{invitation.site}' has joined. Now name its datasets in {file}."]
    if again:
        said = [f"'{invitation.site}' has joined again, with a new key. Restart its service."]
    answer(json, said, site=invitation.site, settings=file)


def renew(
    folder: Folder = HERE,
    new_key: Annotated[bool, typer.Option("--new-key", help="Change the key too, then restart.")] = False,
    json: Json = False,
) -> None:
    """Renew this site's certificate; the service does so by itself when a third of its life is left."""
    from client.settings.enrolment import renew as renew_certificate

    renewed = renew_certificate(folder, change_key=new_key)
    file, until = folder / "keys" / "site.crt", renewed.not_valid_after_utc
    answer(json, f"{file}: valid until {until:%Y-%m-%d}", certificate=file, valid_until=until)


def follow(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="Where sites reach it now.", show_default=False)
    ],
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Follow a coordinator that has moved: check that it is the same, write where it is into site.toml."""
    from client.settings.coordinator_address import follow as follow_coordinator

    authority = follow_coordinator(folder, address)
    said = f"the coordinator at {address} is the same; restart this site's service"
    answer(json, said, coordinator=address, authority=authority)


def _read_join(text: str) -> "Join":
    from shared.pki.join_string import parse_join

    return parse_join(sys.stdin.read() if text == "-" else text)
