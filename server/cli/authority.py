"""`wardround server authority renew, new` and `server rehost`: when the authority or the host changes."""

from typing import Annotated

import typer

from server.cli.folder import HERE, Folder
from shared.cli.answer import Json, answer
from shared.cli.app import App

authority_app = App(help="The federation's authority, which signs certificates.")


@authority_app.command()
def renew(folder: Folder = HERE, json: Json = False) -> None:
    """Give the authority ten more years with the same key: no site has to join again."""
    from server.audit.log import operator_audit
    from server.folder.authority_changes import renew_authority
    from server.folder.coordinator import load_settings
    from server.folder.passphrase import open_authority
    from shared.pki.certificates import fingerprint

    host = load_settings(folder).server.host
    certificate = renew_authority(folder, open_authority(folder), host).certificate
    operator_audit(folder)("authority-renewed", sha256=fingerprint(certificate))
    until, print_ = certificate.not_valid_after_utc, fingerprint(certificate)
    said = [
        f"the authority is valid until {until:%Y-%m-%d}; its fingerprint is now {print_}",
        "Sites take it with their next certificate. Invitations that are open hold the old one: invite anew.",
    ]
    answer(json, said, authority=print_, valid_until=until)


@authority_app.command()
def new(
    folder: Folder = HERE,
    passphrase: Annotated[
        bool, typer.Option(help="Encrypt the new key, with the passphrase that is asked for.")
    ] = True,
    json: Json = False,
) -> None:
    """Found a new authority where the passphrase is lost or the key has leaked; every site joins again."""
    from server.audit.log import operator_audit
    from server.folder.authority_changes import replace_authority
    from server.folder.passphrase import read_passphrase
    from server.registry.access import open_registry
    from shared.pki.certificates import fingerprint

    secret = read_passphrase(folder / "ca" / "ca.key", new=True) if passphrase else None
    authority, kept = replace_authority(folder, secret)
    operator_audit(folder)("authority-replaced", sha256=fingerprint(authority.certificate))
    with open_registry(folder) as registry:
        registry.withdraw_invitations()
        sites = [site.name for site in registry.sites() if site.state == "joined"]
        for site in sites:
            registry.revoke(site)
        authority.write_list(registry.revoked())
    print_ = fingerprint(authority.certificate)
    said = [
        f"a new authority, SHA-256 {print_}; the old one is in {kept}",
        "Each site gets a new invitation and joins again; it keeps its ledger, approvals and log:",
        *(
            f"  wardround server invite {site}   then there: wardround client enrol - --again"
            for site in sites
        ),
        "People log in again with the new fingerprint; their tokens stay.",
    ]
    answer(json, said, authority=print_, old=kept, sites=sites)


def rehost(
    host: Annotated[str, typer.Argument(help="DNS name or address of the coordinator.", show_default=False)],
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Let the coordinator be reached under another host; each site follows with `client follow`."""
    from server.audit.log import operator_audit
    from server.folder.authority_changes import rehost as move
    from server.folder.coordinator import load_settings
    from server.folder.passphrase import open_authority
    from shared.pki.certificates import fingerprint
    from shared.wire.address import join_address

    certificate = move(folder, open_authority(folder), host).certificate
    operator_audit(folder)("coordinator-moved", sha256=fingerprint(certificate))
    settings = load_settings(folder).server
    address, print_ = join_address(host, settings.sites_port), fingerprint(certificate)
    said = [
        f"server.toml and the certificates are for {host} now; the authority's fingerprint is {print_}",
        f"Start the coordinator there. Each site then: wardround client follow {address}",
        "Invitations that are open hold the old host: invite anew. People log in again.",
    ]
    answer(json, said, host=host, authority=print_, address=address)
