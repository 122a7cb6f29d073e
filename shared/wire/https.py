"""Talking to a coordinator: pinned to the authority of its federation, with answers of limited length."""

import json
import ssl
from typing import Any

import httpx
from cryptography import x509

from shared.errors import WardroundError
from shared.pki.certificates import CredentialError, fingerprint, parse_certificates
from shared.text.printable import printable, printable_lines
from shared.wire.proxy import open_client, proxy_for, shown

MIB = 2**20
TIMEOUT = 30.0  # seconds
LONGEST_ANSWER = 64 * 1024  # bytes


class CoordinatorError(WardroundError):
    """A coordinator that can't be reached, or that refuses."""


def pinned_authority(url: str, expected: str) -> x509.Certificate:
    """Ask a coordinator for its authority's certificate, which is public, and check its fingerprint.

    This one request is not protected by TLS; what it brings is, by its fingerprint.

    Args:
        url: Of the people's listener, without a path.
        expected: SHA-256 of the certificate, 64 hexadecimal digits, as the operator handed it out.

    Raises:
        CoordinatorError: It can't be reached.
        CredentialError: It has another authority.
    """
    authority = shown_authority(url, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    if fingerprint(authority) != expected:
        raise CredentialError(
            "has another authority than the invitation says; nothing was sent",
            where=url,
            remedy="Someone may stand between: ask the coordinator's operator for the fingerprint.",
        )
    return authority


def shown_authority(url: str, context: ssl.SSLContext) -> x509.Certificate:
    """Ask a coordinator for its authority's certificate; whoever asks has to check it: TLS checks nobody.

    Args:
        url: Of a listener, without a path.
        context: Of a client; it trusts everybody from now on.

    Raises:
        CoordinatorError: It can't be reached.
        CredentialError: What it shows is no certificate.
    """
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with open_client(url, context, timeout=TIMEOUT) as client:
        answer = exchange(client, "GET", f"{url}/v1/authority")
    return parse_certificates(answer, f"the answer of {url}")[0]


def exchange(
    client: httpx.Client,
    method: str,
    url: str,
    body: dict[str, Any] | None = None,
    *,
    longest: int = LONGEST_ANSWER,
    timeout: float = TIMEOUT,
) -> bytes:
    """Send a request and return the answer's content.

    Raises:
        CoordinatorError: It can't be reached, refuses, or its answer is longer than `longest` bytes.
    """
    content = bytearray()
    try:
        with client.stream(method, url, json=body, timeout=timeout) as answer:
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > longest:
                    raise CoordinatorError("the answer is too long", where=url)
    except httpx.InvalidURL:
        raise CoordinatorError("is not an address", where=url) from None
    except httpx.TransportError as error:
        raise unreachable(error, url) from None
    if not answer.is_success:
        raise refusal(answer.status_code, bytes(content), url)
    return bytes(content)


def unreachable(error: httpx.TransportError, url: str) -> CoordinatorError:
    """Return the error for a coordinator that did not answer, or was another one."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        remedy = "Someone may stand between, or the coordinator's certificate or this clock is wrong."
        problem = "did not show a certificate of the federation's authority; nothing was sent"
        return CoordinatorError(problem, where=url, remedy=remedy)
    if of_proxy := proxy_problem(error, url):
        return CoordinatorError(of_proxy[0], where=url, remedy=of_proxy[1])
    remedy = "Is the port open to the outside here? Behind a proxy, set HTTPS_PROXY."
    return CoordinatorError(f"can't be reached ({error or type(error).__name__})", where=url, remedy=remedy)


def proxy_problem(error: httpx.TransportError | OSError, url: str) -> tuple[str, str] | None:
    """Return what the proxy on the way to a coordinator has to do with an error, and the remedy, or None.

    An error of TLS is not the proxy's: it comes from behind it.
    """
    proxy, text = proxy_for(url), printable(str(error))
    if proxy is None:
        return None
    name = f"the proxy {shown(proxy)}"
    if isinstance(error, httpx.ProxyError) and text.startswith("407"):
        wanted = (
            "refuses the name and password of HTTPS_PROXY"
            if proxy.username
            else "wants a name and a password"
        )
        return f"{name} {wanted} (407)", "Set HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT."
    if isinstance(error, httpx.ProxyError):
        return f"{name} refuses the way ({text})", "Let the proxy pass this address and port."
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and "SSL" not in text.upper():
        return f"{name} can't be reached ({text or type(error).__name__})", "Is HTTPS_PROXY right?"
    return None


def refusal(status: int, content: bytes, url: str) -> CoordinatorError:
    """Return the error for an answer that is not a success, with the coordinator's reason and remedy."""
    answer = parse_object(content)
    reason = str(answer["error"])[:2000] if "error" in answer else f"status {status}"
    remedy = str(answer["remedy"])[:300] if answer.get("remedy") else None
    return CoordinatorError(
        f"refused: {printable_lines(reason)}", where=url, remedy=remedy and printable(remedy)
    )


def parse_object(content: bytes) -> dict[str, Any]:
    """Return a JSON object; an empty one where there is none."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}
