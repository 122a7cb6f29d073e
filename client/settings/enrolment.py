"""How a site joins a federation and renews its certificate.

The private key is made here and never leaves. Nothing secret is sent before the coordinator has shown a
certificate of the authority whose fingerprint came with the invitation: there is no trust on first use.
"""

import base64
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA384

from client.settings.cohort_key import make_key
from client.settings.coordinator_address import name_coordinator
from client.settings.site import SiteConfig, load_site
from client.settings.template import site_template
from shared.audit.log import AuditLog
from shared.errors import WardroundError
from shared.files import Lock
from shared.json_schema import write_schema
from shared.pki.certificate_requests import certificate_request, renewal_statement
from shared.pki.certificates import (
    Clock,
    CredentialError,
    check_issued,
    client_context,
    common_name,
    fingerprint,
    is_renewed,
    key_fingerprint,
    load_certificate,
    load_key,
    new_key,
    parse_certificates,
    pem_of,
    pinned_context,
    public_key_of,
    save_key,
    utc_now,
    write_file,
)
from shared.pki.join_string import Join
from shared.pki.key_file import KeyFile
from shared.wire.address import join_address
from shared.wire.https import TIMEOUT, CoordinatorError, exchange, parse_object, pinned_authority
from shared.wire.proxy import open_client


class EnrolmentError(WardroundError):
    """A site that can't join, or can't renew its certificate, for a reason of its own."""


def enrol(join: Join, folder: Path, clock: Clock = utc_now, *, again: bool = False) -> None:
    """Join over the network: make its keys, have one certified, write `keys/` and `site.toml`.

    Args:
        join: What the coordinator's operator handed out.
        folder: The site's folder; made if it is not there.
        clock: Says when it is.
        again: The site has joined before, and keeps what it has: ledger, approvals, cohorts, audit log.

    Raises:
        EnrolmentError: The site has joined already; or, to join again, it has not.
        CoordinatorError: The coordinator can't be reached or refuses.
        CredentialError: What answers is not the coordinator of the invitation, or a file can't be written.
    """
    _require(folder, again=again)
    authority = pinned_authority(_url(join), join.authority)
    url, settings = _url(join), folder / "site.toml"
    were_there = settings.exists()
    # What can fail here is done before the invitation is spent.
    request = _prepare(join, folder, again=again)
    body = {"token": join.token, "request": request.decode("ascii")}
    try:
        with open_client(url, pinned_context(authority), timeout=TIMEOUT) as client:
            answer = exchange(client, "POST", f"{url}/v1/enrol", body)
    except CoordinatorError:
        if not were_there:  # the next invitation may be for another name
            settings.unlink(missing_ok=True)
        raise
    _install(join, folder, [_certificate(answer), authority], clock, again=again)


def write_request(join: Join, folder: Path, file: Path, *, again: bool = False) -> str:
    """Begin to join by files: make a key, write its request, and return the key's fingerprint to read out.

    Raises:
        EnrolmentError: As `enrol`.
        CredentialError: The file is there already, or can't be written.
    """
    _require(folder, again=again)
    if file.exists():
        raise CredentialError("exists already; nothing is overwritten", where=file)
    write_file(file, _prepare(join, folder, again=again), 0o644)
    return key_fingerprint(load_key(_key(folder, again=again)).public_key())


def accept_certificate(
    join: Join, folder: Path, file: Path, clock: Clock = utc_now, *, again: bool = False
) -> None:
    """Finish joining by files.

    Args:
        join: The same as for `write_request`: it holds the authority's fingerprint.
        folder: The same as for `write_request`: it holds the key.
        file: What `wardround server sign` wrote.
        clock: Says when it is.
        again: As for `enrol`.

    Raises:
        EnrolmentError: As `enrol`.
        CredentialError: The file does not fit the invitation or the key.
    """
    _require(folder, again=again)
    try:
        chain = parse_certificates(file.read_bytes(), file)
    except OSError as error:
        raise CredentialError(f"can't be read ({error.strerror})", where=file) from None
    _install(join, folder, chain, clock, again=again)


def renew(folder: Path, *, change_key: bool = False, clock: Clock = utc_now) -> x509.Certificate:
    """Renew a site's certificate over the network and return the new one.

    Args:
        folder: The site's folder.
        change_key: Make a new key too; the old one ends when the new one is first used.
        clock: Says when it is.

    Raises:
        EnrolmentError: `site.toml` names no coordinator.
        CoordinatorError: The coordinator can't be reached or refuses.
        CredentialError: The keys can't be used, or what came back does not fit.
        SiteError: `site.toml` can't be read.
        AuditError: The audit log can't be written; the certificate is renewed all the same.
    """
    keys = folder / "keys"
    with _alone(keys):
        renewed = _renew(folder, change_key=change_key, clock=clock)
        log = AuditLog.open(folder / "audit", KeyFile(keys / "site.key"))
        log.append("certificate-renewed", serial=f"{renewed.serial_number:x}")
    return renewed


def _renew(folder: Path, *, change_key: bool, clock: Clock) -> x509.Certificate:
    keys = folder / "keys"
    _settle(keys)
    config = load_site(folder / "site.toml").site
    if config.coordinator is None:
        raise EnrolmentError("[site] coordinator: is missing", where=folder / "site.toml")
    current, authority = load_certificate(keys / "site.crt"), load_certificate(keys / "ca.crt")
    key = load_key(keys / "site.key")
    wanted = new_key() if change_key else key
    request = certificate_request(wanted, config.name)
    body = {
        "certificate": pem_of(current).decode("ascii"),
        "request": request.decode("ascii"),
        "signature": base64.b64encode(key.sign(renewal_statement(request), ECDSA(SHA384()))).decode("ascii"),
    }
    url = f"https://{config.coordinator}"
    with open_client(url, client_context(keys), timeout=TIMEOUT) as client:
        answer = exchange(client, "POST", f"{url}/v1/renew", body)
    renewed = _certificate(answer)
    _take_over_authority(keys, authority, answer, clock)
    _check(renewed, authority, config.name, wanted.public_key(), clock)
    if change_key:
        save_key(keys / "site.key.new", wanted)
        write_file(keys / "site.crt.new", pem_of(renewed), 0o644)
        _settle(keys)
    else:
        write_file(keys / "site.crt", pem_of(renewed), 0o644)
    return renewed


def _take_over_authority(keys: Path, known: x509.Certificate, answer: bytes, clock: Clock) -> None:
    """Keep the newest certificate of the authority that is known; of another one, nothing."""
    text = str(parse_object(answer).get("authority", "")).encode()
    if text and is_renewed(newer := parse_certificates(text, "the answer")[0], known, clock()):
        write_file(keys / "ca.crt", pem_of(newer), 0o644)


def settle(keys: Path) -> None:
    """Finish a change of key that was cut off: afterwards key and certificate are both new, or both old.

    The new key is written first, then the new certificate; then they take their places in the same order.

    Raises:
        EnrolmentError: There is no such folder.
    """
    with _alone(keys):
        _settle(keys)


@contextmanager
def _alone(keys: Path) -> Iterator[None]:
    """Keep another process, or the running service, from changing the same keys meanwhile."""
    try:
        if not keys.is_dir():  # a lock would be made in its place
            raise NotADirectoryError(errno.ENOENT, os.strerror(errno.ENOENT))
        lock = Lock(keys)
    except OSError as error:
        remedy = "Has this site joined? See `wardround client enrol`."
        raise EnrolmentError(f"can't be read ({error.strerror})", where=keys, remedy=remedy) from None
    with lock:
        yield


def _settle(keys: Path) -> None:
    certificate, others = keys / "site.crt.new", [keys / "site.key.new", keys / "ca.crt.new"]
    for new in others:
        if certificate.exists() and new.exists():
            new.replace(new.with_suffix(""))
        new.unlink(missing_ok=True)
    if certificate.exists():
        certificate.replace(keys / "site.crt")


def _require(folder: Path, *, again: bool) -> None:
    has_joined = (folder / "keys" / "site.crt").exists()
    if has_joined and not again:
        remedy = (
            "To renew the certificate: `wardround client renew`. With a new invitation the site joins again, "
            "and keeps what it has, by --again. For another site name another folder with --dir."
        )
        raise EnrolmentError("has joined a federation already", where=folder, remedy=remedy)
    if again and not has_joined:
        raise EnrolmentError("has joined no federation yet", where=folder, remedy="Leave --again out.")


def _key(folder: Path, *, again: bool) -> Path:
    """Return where the key is that is being certified; the one in use stays until that is done."""
    return folder / "keys" / ("site.key.again" if again else "site.key")


def _prepare(join: Join, folder: Path, *, again: bool) -> bytes:
    """Make the folder, a new key and `site.toml`; return the certificate request."""
    settings, keys = folder / "site.toml", folder / "keys"
    coordinator = join_address(join.host, join.sites_port)
    if settings.exists():
        found = load_site(settings).site
        is_there = found.coordinator == coordinator or again  # which may have moved since
        if found.name != join.site or not is_there:
            problem = f"is not for the site '{join.site}' at {coordinator}; it is not overwritten"
            raise EnrolmentError(problem, where=settings, remedy="Move it away, or change [site] in it.")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EnrolmentError(f"can't be made ({error.strerror})", where=keys) from None
    if not settings.exists():
        write_file(settings, site_template(join.site, coordinator).encode(), 0o600)
        write_schema("site", SiteConfig, folder)
    make_key(keys)
    key = new_key()
    save_key(_key(folder, again=again), key)
    return certificate_request(key, join.site)


def _install(join: Join, folder: Path, chain: list[x509.Certificate], clock: Clock, *, again: bool) -> None:
    """Check a site's certificate and its authority's, and write them."""
    certificate, authority, keys = chain[0], chain[-1], folder / "keys"
    if fingerprint(authority) != join.authority:
        raise CredentialError("the certificate is not of the federation that invited this site")
    key = load_key(_key(folder, again=again)).public_key()
    _check(certificate, authority, join.site, key, clock)
    if not again:
        write_file(keys / "ca.crt", pem_of(authority), 0o644)
        write_file(keys / "site.crt", pem_of(certificate), 0o644)
        return
    with _alone(keys):
        write_file(keys / "ca.crt.new", pem_of(authority), 0o644)
        write_file(keys / "site.crt.again", pem_of(certificate), 0o644)
        # From here on nothing needs room: a full disk leaves the key where the next try looks for it.
        _key(folder, again=True).replace(keys / "site.key.new")
        (keys / "site.crt.again").replace(keys / "site.crt.new")
        _settle(keys)
    name_coordinator(folder / "site.toml", join_address(join.host, join.sites_port))


def _check(
    certificate: x509.Certificate,
    authority: x509.Certificate,
    site: str,
    key: EllipticCurvePublicKey,
    clock: Clock,
) -> None:
    check_issued(certificate, authority, clock())
    if common_name(certificate.subject) != site or public_key_of(certificate) != key:
        raise CredentialError(f"the certificate is not for the site '{site}' and its key")


def _url(join: Join) -> str:
    return f"https://{join_address(join.host, join.people_port)}"


def _certificate(content: bytes) -> x509.Certificate:
    return parse_certificates(str(parse_object(content).get("certificate", "")).encode(), "the answer")[0]
