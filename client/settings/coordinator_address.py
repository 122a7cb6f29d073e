"""Where a site finds its coordinator: `[site] coordinator` in site.toml, when that is reached elsewhere."""

import re
from pathlib import Path

from client.settings.site import load_site
from shared.errors import SiteError
from shared.files import replace_file, writing_remedy
from shared.pki.certificates import (
    Clock,
    CredentialError,
    client_context,
    fingerprint,
    is_renewed,
    load_certificate,
    pem_of,
    pinned_context,
    utc_now,
    write_file,
)
from shared.wire.https import TIMEOUT, exchange, shown_authority
from shared.wire.proxy import open_client

_LINE = re.compile(r'^(\s*coordinator\s*=\s*)"[^"\n]*"', re.MULTILINE)


def name_coordinator(file: Path, address: str) -> None:
    """Write another address of the coordinator into `site.toml`; all else in it stays as it is.

    Args:
        file: The site's settings.
        address: ``host:port``.

    Raises:
        SiteError: The file can't be read or written, or has no such line.
    """
    if load_site(file).site.coordinator == address:
        return
    text = file.read_text(encoding="utf-8")
    changed, count = _LINE.subn(lambda line: f'{line[1]}"{address}"', text)
    if count != 1:
        remedy = f'Write coordinator = "{address}" under [site] by hand.'
        raise SiteError("its coordinator can't be changed", where=file, remedy=remedy)
    try:
        replace_file(file, changed.encode())
    except OSError as error:
        problem = f"can't be written ({error.strerror})"
        raise SiteError(problem, where=file, remedy=writing_remedy(error)) from None


def follow(folder: Path, address: str, clock: Clock = utc_now) -> str:
    """Follow a coordinator that is reached elsewhere from now on; returns its authority's fingerprint.

    Nobody has to be believed: what answers there must show a certificate of the authority's key that the site
    knows, and prove by TLS that this authority has let it be the coordinator.

    Args:
        folder: The site's.
        address: ``host:port`` of the listener for sites.
        clock: Says when it is.

    Raises:
        CoordinatorError: It can't be reached, or is not the coordinator.
        CredentialError: It has another authority, or the keys can't be used.
        SiteError: `site.toml` can't be changed.
    """
    keys, url = folder / "keys", f"https://{address}"
    load_site(folder / "site.toml")
    known = load_certificate(keys / "ca.crt")
    found = shown_authority(url, client_context(keys))
    if found != known and not is_renewed(found, known, clock()):
        remedy = "Has the federation a new one? Ask for an invitation: `wardround client enrol - --again`."
        raise CredentialError("has another authority than this site's", where=url, remedy=remedy)
    context = pinned_context(found)
    context.load_cert_chain(keys / "site.crt", keys / "site.key")
    with open_client(url, context, timeout=TIMEOUT) as client:
        exchange(client, "GET", f"{url}/v1/authority")
    write_file(keys / "ca.crt", pem_of(found), 0o644)
    name_coordinator(folder / "site.toml", address)
    return fingerprint(found)
