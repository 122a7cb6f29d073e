"""Logging in to a coordinator from another machine: where it is, whom to trust, and the token."""

import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from pydantic import Field, ValidationError

from server.folder.coordinator import PEOPLE_PORT
from shared.errors import WardroundError
from shared.pki.certificates import (
    CredentialError,
    fingerprint,
    load_certificate,
    parse_certificates,
    pem_of,
    pinned_context,
    write_file,
)
from shared.table import Table
from shared.text.printable import printable
from shared.wire.address import join_address
from shared.wire.https import TIMEOUT, exchange, parse_object, pinned_authority
from shared.wire.proxy import open_client

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class LoginError(WardroundError):
    """A log-in that can't be used."""


class Login(Table):
    """What `wardround login` keeps, readable by its user only."""

    url: str
    authority: str  # PEM
    token: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{20,100}$", repr=False)]

    def client(self) -> httpx.Client:
        """Return a client that trusts this coordinator's authority alone and shows the token."""
        context = pinned_context(parse_certificates(self.authority.encode(), login_file())[0])
        headers = {"authorization": f"Bearer {self.token}"}
        return open_client(self.url, context, headers=headers, timeout=TIMEOUT)


def login_file() -> Path:
    """Return the file of the log-in: below `$XDG_CONFIG_HOME`, or `~/.config`."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "wardround" / "login.json"


def log_in(url: str, authority: str, token: str) -> tuple[str, str]:
    """Check a token at its coordinator and keep it; returns the person's name and role.

    Args:
        url: ``https://HOST:PORT`` of the people's listener.
        authority: SHA-256 fingerprint of the federation's authority, or a file with its certificate.
        token: As the operator handed it out.

    Raises:
        LoginError: The URL or the token can't be one, or the log-in can't be kept.
        CoordinatorError: The coordinator can't be reached, or refuses the token.
        CredentialError: It has another authority.
    """
    url = _base(url)
    trusted = _authority(url, authority)
    try:
        login = Login(url=url, authority=pem_of(trusted).decode("ascii"), token=token)
    except ValidationError:
        raise LoginError("this is not a token", remedy="Copy the whole token.") from None
    with login.client() as client:
        me = parse_object(exchange(client, "GET", f"{url}/v1/me"))
    file = login_file()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LoginError(f"can't be made ({error.strerror})", where=file.parent) from None
    write_file(file, login.model_dump_json().encode())
    return str(me.get("name")), str(me.get("role"))


@dataclass(frozen=True)
class Code:
    """What somebody confirms in a browser.

    Attributes:
        text: To be compared there, or typed.
        address: Where.
        seconds: After which it ends.
    """

    text: str
    address: str
    seconds: float


def token_by_account(
    url: str, authority: str, show: Callable[[Code], None], sleep: Callable[[float], None] = time.sleep
) -> str:
    """Return a token for an account of the coordinator's provider, once it is confirmed in a browser.

    Args:
        url: As for `log_in`.
        authority: As for `log_in`.
        show: Shows the code to the user.
        sleep: Waits for some seconds.

    Raises:
        LoginError: Nobody confirmed it in time, or the coordinator's answer is of no use.
        CoordinatorError: It can't be reached, knows no provider, or refuses the account.
        CredentialError: It has another authority.
    """
    url = _base(url)
    context = pinned_context(_authority(url, authority))
    with open_client(url, context, timeout=TIMEOUT) as client:
        try:
            asked = _Device.model_validate_json(exchange(client, "POST", f"{url}/v1/oidc/device"))
        except ValidationError:
            raise LoginError("the coordinator's answer is not understood", where=url) from None
        show(Code(printable(asked.user_code), printable(asked.whole_address or asked.address), asked.seconds))
        for _ in range(int(asked.seconds / asked.interval) + 1):
            sleep(asked.interval)
            answer = parse_object(exchange(client, "POST", f"{url}/v1/oidc/token", {"key": asked.key}))
            if token := answer.get("token"):
                return str(token)
    raise LoginError("nobody confirmed the code in time", remedy="Begin again.")


class _Device(Table):
    key: str
    user_code: Annotated[str, Field(max_length=100)]
    address: Annotated[str, Field(pattern=r"^https?://", max_length=2000)]
    whole_address: Annotated[str, Field(pattern=r"^(https?://.*)?$", max_length=2000)] = ""
    seconds: Annotated[float, Field(gt=0, le=3600)]
    interval: Annotated[float, Field(gt=0, le=600)]


def load_login() -> Login:
    """Return the log-in that is kept.

    Raises:
        LoginError: There is none, or others may read it.
    """
    file = login_file()
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        content = file.read_bytes()
    except OSError:
        remedy = "Log in with `wardround login`, or name the coordinator's folder on this machine with --dir."
        raise LoginError("you are not logged in to a coordinator", where=file, remedy=remedy) from None
    if mode & 0o077:
        raise LoginError("other users may read this token", where=file, remedy=f"chmod 600 {file}")
    try:
        return Login.model_validate_json(content)
    except ValidationError:
        raise LoginError("is not a log-in", where=file, remedy="Log in again.") from None


def _base(url: str) -> str:
    """Return the URL of a listener, without anything behind its port."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = parts.path in ("", "/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if parts.scheme != "https" or not parts.hostname or not plain:
        raise LoginError("is not an address such as https://federation.example.org:9444", where=url)
    return f"https://{join_address(parts.hostname, port or PEOPLE_PORT)}"


def _authority(url: str, given: str) -> x509.Certificate:
    """Return the authority's certificate: from a file, or from the coordinator if it has the fingerprint."""
    if _FINGERPRINT.fullmatch(given):
        return pinned_authority(url, given)
    file = Path(given)
    if not file.is_file():
        raise CredentialError(
            "is neither a fingerprint (64 hexadecimal digits) nor a file",
            where=f"--authority {given}",
            remedy="`wardround server people add` prints the fingerprint: ask the operator for it.",
        )
    certificate = load_certificate(file)
    pinned_authority(url, fingerprint(certificate))
    return certificate
