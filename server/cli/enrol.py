"""`wardround server init, invite, sites, revoke, sign, people, backup, restore`."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from server.cli.folder import HERE, Folder
from shared.cli.answer import Json, answer
from shared.cli.app import App

Projects = Annotated[
    list[str] | None,
    typer.Option(
        "--project",
        help="Project to belong to, once for each; the only one if not given.",
        show_default=False,
    ),
]
_NEXT = ("check", "start", "invite SITE", "people add NAME --role researcher")
people_app = App(help="People who may talk to the coordinator.")


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.", show_default=False)],
    name: Annotated[str, typer.Option(help="Name of the federation, in lower case.")],
    host: Annotated[str, typer.Option(help="DNS name or address under which sites reach it.")],
    sites_port: Annotated[int, typer.Option(min=1, max=65535, help="Port for sites.")] = 9443,
    people_port: Annotated[int, typer.Option(min=1, max=65535, help="Port for people and joining.")] = 9444,
    passphrase: Annotated[
        bool,
        typer.Option(help="Encrypt the authority's key, with the passphrase that is asked for."),
    ] = True,
    json: Json = False,
) -> None:
    """Found a federation: its authority, the server's certificate, settings and registry."""
    from server.audit.log import operator_audit
    from server.folder.coordinator import ServerTable, found
    from server.folder.passphrase import read_passphrase
    from server.registry.store import check_name
    from shared.pki.certificates import fingerprint

    check_name(name)
    secret = read_passphrase(folder / "ca" / "ca.key", new=True) if passphrase else None
    settings = ServerTable(name=name, host=host, sites_port=sites_port, people_port=people_port)
    authority = found(folder, settings, secret)
    operator_audit(folder)("federation-founded", federation=name)
    authority_print = fingerprint(authority.certificate)
    said = [f"{folder}: the federation '{name}'", f"  authority  SHA-256 {authority_print}"]
    if not passphrase:
        said.append("  The authority's key has no passphrase: whoever reads its file can admit sites.")
    at = shlex.join(["--dir", str(folder)])
    said.append("Then:")
    said += [f"  wardround server {step} {at}" for step in _NEXT]
    answer(json, said, folder=folder, federation=name, authority=authority_print, passphrase=passphrase)


def invite(
    site: Annotated[str, typer.Argument(help="Name of the site, in lower case.", show_default=False)],
    hours: Annotated[float, typer.Option(min=0.1, max=24 * 30, help="How long the invitation holds.")] = 72.0,
    project: Projects = None,
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Print the join string of a site: secret, to be used once. It goes to stdout and is not kept."""
    from server.folder.coordinator import join_string, load_settings
    from server.registry.access import open_registry

    load_settings(folder)
    with open_registry(folder) as registry:
        token = registry.invite(site, hours, project or ())
    join = str(join_string(folder, site, token))
    answer(json, join, site=site, hours=hours, join=join)
    print(f"For '{site}', once, within {hours:g} hours: `wardround client enrol -`", file=sys.stderr)


def sites(folder: Folder = HERE, json: Json = False) -> None:
    """List the sites: who is online, with which version, until when, whom jobs wait for, who trained last."""
    from server.registry.access import open_registry
    from server.runs.site_list import site_list
    from shared.cli.table import table_lines

    with open_registry(folder) as registry:
        joined, invited = site_list(registry, folder), registry.invitations()
    titles = ("site", "state", "last seen", "version", "certificate", "jobs that wait", "last round")
    rows: list[tuple[str, ...]] = [
        (
            site.name,
            site.state if site.state == "revoked" else "online" if site.online else "offline",
            f"{site.last_seen:%Y-%m-%d %H:%M}" if site.last_seen else "never",
            site.version or "-",
            f"{site.days} days",
            str(site.waiting),
            f"{site.last_run}, {site.last_round}" if site.last_run else "-",
        )
        for site in joined
    ]
    for invitation in invited:
        rows.append((invitation.site, f"invited until {invitation.expires:%Y-%m-%d %H:%M}", *[""] * 5))
    answer(
        json,
        table_lines(titles, rows),
        sites=[asdict(site) for site in joined],
        invitations=[{"site": invitation.site, "expires": invitation.expires} for invitation in invited],
    )


def revoke(
    site: Annotated[str, typer.Argument(help="Name of the site.", show_default=False)],
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Refuse a site from this moment, also in a connection that is open."""
    from server.folder.passphrase import open_authority
    from server.registry.access import open_registry
    from shared.pki.certificates import CredentialError

    with open_registry(folder) as registry:
        registry.revoke(site)
        answer(json, f"'{site}' is refused from now on.", site=site)
        try:
            open_authority(folder).write_list(registry.revoked())
        except CredentialError as error:
            print(f"warning: the list ca/crl.pem was not renewed: {error}", file=sys.stderr)


def sign(
    file: Annotated[Path, typer.Argument(help="Request made by `client enrol --request-out`.")],
    fingerprint: Annotated[
        str | None,
        typer.Option(help="The key's fingerprint as the hospital reads it out; without it you are asked."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Certificate to write; FILE.crt if not given.")] = None,
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Sign the request of an invited site that can't join over the network."""
    if json and fingerprint is None:
        raise typer.BadParameter("--json asks nothing: give --fingerprint too")
    from server.folder.passphrase import open_authority
    from server.registry.access import open_registry
    from server.registry.offline import check_spoken, read_request, require_new, write_answer
    from shared.pki.certificate_requests import parse_request, requested_name
    from shared.pki.certificates import key_fingerprint

    written = out or file.with_name(f"{file.name}.crt")
    require_new(written)
    request = read_request(file)
    site = requested_name(request)
    key = key_fingerprint(parse_request(request, site))
    if not json:
        print(f"site {site!r}, key {key}")
    if fingerprint is None:
        typer.confirm("Does the hospital read out the same fingerprint?", abort=True)
    else:
        check_spoken(fingerprint, key, file)
    authority = open_authority(folder)
    with open_registry(folder) as registry:
        certificate = registry.sign(request, authority)
    write_answer(written, certificate, authority)
    said = f"{written}: send it to the hospital, for `wardround client enrol - --certificate {written.name}`"
    answer(json, said, site=site, key=key, certificate=written)


def backup(
    file: Annotated[Path, typer.Argument(help="File to write (.tar.gz).", show_default=False)],
    include_key: Annotated[
        bool, typer.Option("--include-key", help="Put private keys in that have no passphrase.")
    ] = False,
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Copy settings, authority, registry and logs into one file, while the coordinator runs; not `runs/`."""
    from server.audit.log import operator_audit
    from server.folder.backup import backup as write_backup
    from shared.pki.certificates import is_encrypted

    with_key = write_backup(folder, file, operator_audit(folder), include_keys=include_key)
    said = [f"{file}: written; the folder runs/ is not in it."]
    if with_key and is_encrypted(folder / "ca" / "ca.key"):
        said.append("The passphrase of the authority's key is not in it: keep it elsewhere, to start a copy.")
    if not with_key:
        said.append("The authority's key is not in it, because it has no passphrase: keep a copy elsewhere.")
    answer(json, said, file=file, with_key=with_key)


def restore(
    file: Annotated[Path, typer.Argument(help="Backup to read.", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.", show_default=False)],
    json: Json = False,
) -> None:
    """Make a coordinator's folder from a backup."""
    from server.folder.backup import restore as read_backup

    read_backup(file, folder)
    with_key = (folder / "ca" / "ca.key").exists()
    said = [
        f"{folder}: restored. Invitations that were open are withdrawn.",
        "Later changes are lost: revoke again the sites, and remove the people, that went since the backup.",
    ]
    if not with_key:
        said.append(f"Put the authority's key back: {folder / 'ca' / 'ca.key'} (mode 0600).")
    answer(json, said, folder=folder, with_key=with_key)


@people_app.command("add")
def people_add(
    name: Annotated[str, typer.Argument(help="Name, in lower case.", show_default=False)],
    role: Annotated[str, typer.Option(help="viewer, researcher or operator.")],
    days: Annotated[int, typer.Option(min=1, max=366, help="How long the token holds.")] = 90,
    project: Projects = None,
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Print a new token for a person: secret, shown once and not kept."""
    from server.folder.coordinator import login_command
    from server.registry.access import open_registry

    command = login_command(folder)
    with open_registry(folder) as registry:
        token = registry.add_person(name, role, days, project or ())
    answer(json, token, name=name, role=role, days=days, token=token, log_in=command)
    print(f"For '{name}' ({role}), {days} days:\n  {command}", file=sys.stderr)


@people_app.command("list")
def people_list(folder: Folder = HERE, json: Json = False) -> None:
    """List people, their roles and the last day of their tokens."""
    from server.registry.access import open_registry
    from shared.cli.table import table_lines

    with open_registry(folder) as registry:
        found = registry.people()
    rows = [
        (person.name, person.role, ", ".join(person.projects), f"{person.expires:%Y-%m-%d}")
        for person in found
    ]
    keys = ("name", "role", "projects", "expires")
    people = [{key: getattr(person, key) for key in keys} for person in found]
    answer(json, table_lines(("name", "role", "projects", "token until"), rows), people=people)


@people_app.command("remove")
def people_remove(
    name: Annotated[str, typer.Argument(help="Name.", show_default=False)],
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """End a person's token now."""
    from server.registry.access import open_registry

    with open_registry(folder) as registry:
        registry.remove_person(name)
    answer(json, f"'{name}' is refused from now on.", name=name)
