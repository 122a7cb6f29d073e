"""Addresses of peers as settings name them, ``host:port``."""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

from shared.pki.certificates import HOST

_OWN_HOST = re.compile(r"(127(\.\d{1,3}){3}|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_EXAMPLES = "such as fed.example.org:9443, 192.0.2.7:9443 or [2001:db8::7]:9443"


def split_address(text: str) -> tuple[str, int | None]:
    """Return the host of an address, without brackets, and its port, if it has one.

    Raises:
        ValueError: It is not an address; the message says why.
    """
    if text.count(":") > 1 and not text.startswith("["):
        raise ValueError("holds an IPv6 address without brackets; write [::1] or [::1]:9443")
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        valid = _is_ip(host, 6) and closed == "]" and rest[:1] in {"", ":"}
        colon, port = rest[:1], rest[1:]
    else:
        host, colon, port = text.partition(":")
        valid = _is_ip(host, 4) or HOST.fullmatch(host.lower()) is not None
    if not valid:
        raise ValueError(f"is not an address {_EXAMPLES}")
    if not colon:
        return host, None
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise ValueError(f"has no port from 1 to 65535 after the colon; an address is {_EXAMPLES}")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """Return ``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Say if a host is this machine, by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def calls_this_machine(host: str) -> bool:
    """Say whether the `Host` of a request is a name of this machine that nobody else can give it.

    A page of another host whose name was made to point here (DNS rebinding) calls it by that name.
    """
    return _OWN_HOST.fullmatch(host) is not None


def _is_ip(text: str, version: int) -> bool:
    try:
        return "%" not in text and ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _checked(text: str) -> str:
    split_address(text)
    return text


Address = Annotated[str, AfterValidator(_checked)]
"""A string that `split_address` can read."""
