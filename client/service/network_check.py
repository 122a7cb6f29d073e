"""Whether a site's coordinator can be reached, is the right one and takes the site."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path

import httpx

from shared.errors import WardroundError
from shared.findings import Finding, State
from shared.pki.certificates import client_context
from shared.wire.address import split_address
from shared.wire.https import proxy_problem
from shared.wire.proxy import open_client, proxy_for, shown

TIMEOUT = 10.0  # seconds for each network step
HTTPS_PORT = 443
# Requests are signed with the time: Flower 1.41 refuses those from 5 s in the future, or 305 s in the past.
SKEW_WARNING, SKEW_FAILURE = 2.0, 5.0


def check_network(folder: Path, address: str) -> Iterator[Finding]:
    """Check the way to a coordinator, its certificate, whether it takes this site's, and its clock.

    Args:
        folder: The site's, with `keys/`.
        address: Of the coordinator's listener for sites, ``host:port``.
    """
    try:
        host, port = split_address(address)
        proxy = proxy_for(f"https://{address}")
    except ValueError as error:
        yield Finding("failure", "coordinator", f"'{address}' {error}", "Correct the address.")
        return
    except WardroundError as error:
        yield Finding("failure", "proxy", f"{error.where} {error.problem}", error.remedy)
        return
    way = _name(host, port or HTTPS_PORT) if proxy is None else None
    yield way or Finding("ok", "proxy", f"{shown(proxy)} (HTTPS_PROXY)" if proxy else "")
    if way is None or way.state == "ok":
        yield from _listener(folder, address)


def _name(host: str, port: int) -> Finding:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        remedy = "Ask for a DNS entry, or set HTTPS_PROXY if the way out is a proxy."
        return Finding("failure", "name", f"{host} is not known to this machine's DNS", remedy)
    return Finding("ok", "name", f"{host} is {found[0][4][0]}")


def _listener(folder: Path, address: str) -> Iterator[Finding]:
    url = f"https://{address}"
    try:
        with open_client(url, client_context(folder / "keys"), timeout=TIMEOUT) as client:
            before = datetime.now(UTC)
            answer = client.get(f"{url}/")
            after = datetime.now(UTC)
    except WardroundError as error:
        detail = f"{error.where}: {error.problem}" if error.where else error.problem
        yield Finding("failure", "TLS", detail, error.remedy)
        return
    except (httpx.TransportError, OSError) as error:
        yield _unreachable(error, address)
        return
    yield _taken(answer.status_code, address)
    yield _clock(answer.headers.get("date"), before + (after - before) / 2)


def _taken(status: int, address: str) -> Finding:
    """Say what the coordinator makes of this site, by its answer to a path that it does not have."""
    shows = f"{address} has a certificate of this federation"
    if status == HTTPStatus.NOT_FOUND:
        return Finding("ok", "TLS", f"{shows} and takes this site's")
    if status == HTTPStatus.FORBIDDEN:
        remedy = "Ask the coordinator's operator; a site that was revoked joins again by a new invitation."
        return Finding("failure", "TLS", f"{shows}, but this site was revoked or is not registered", remedy)
    remedy = "Try again later; if it stays so, ask the coordinator's operator."
    return Finding(
        "failure", "TLS", f"{shows}, but answers {status}, which says nothing of this site", remedy
    )


def _unreachable(error: httpx.TransportError | OSError, address: str) -> Finding:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return _another_certificate(text, address)
    if "alert" in text.lower() or "SSL" in text:
        remedy = "Has it expired? Is this the listener for sites? Ask the coordinator's operator."
        return Finding("failure", "TLS", "the coordinator refuses this site's certificate", remedy)
    if of_proxy := proxy_problem(error, f"https://{address}"):
        return Finding("failure", "proxy", *of_proxy)
    remedy = "Is it running? Open the firewall outbound for this one address and port; nothing comes in."
    return Finding("failure", "TLS", f"{address} can't be reached ({text or type(error).__name__})", remedy)


def _another_certificate(text: str, address: str) -> Finding:
    if "mismatch" in text or "not valid for" in text:
        remedy = (
            "Use the name or address that the coordinator's operator gave it at `server init`. Where it has "
            "moved: `wardround client follow HOST:PORT`."
        )
        return Finding("failure", "TLS", f"the certificate of {address} is for another name", remedy)
    if "expired" in text or "not yet valid" in text:
        detail = f"the certificate of {address} has expired, or is not valid yet"
        remedy = "Is this machine's clock right? Then the coordinator must renew its own."
        return Finding("failure", "TLS", detail, remedy)
    remedy = "Something in between opens TLS, or this is another federation: take this address out of it."
    return Finding("failure", "TLS", f"{address} shows a certificate of another authority", remedy)


def _clock(date: str | None, here: datetime) -> Finding:
    try:
        there = parsedate_to_datetime(date or "")
    except ValueError:
        return Finding("warning", "clock", "the coordinator does not say what time it is")
    skew = abs((here - there.replace(tzinfo=there.tzinfo or UTC)).total_seconds())
    detail = f"{skew:.0f} s from the coordinator's"
    if skew <= SKEW_WARNING:
        return Finding("ok", "clock", detail)
    state: State = "warning" if skew <= SKEW_FAILURE else "failure"
    return Finding(state, "clock", detail, "Set both clocks by NTP: requests are signed with the time.")
