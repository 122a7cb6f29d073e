"""The way to a coordinator: through the proxy that the environment names, or straight.

`HTTPS_PROXY` or `ALL_PROXY` name a proxy, `NO_PROXY` what is reached without one, as in curl. What listens
on this machine is never reached through a proxy.
"""

import ssl
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import httpx

from shared.errors import WardroundError
from shared.wire.address import is_loopback, join_address


class ProxyError(WardroundError):
    """A proxy that the environment names, and that can't be used."""


def proxy_for(url: str) -> httpx.URL | None:
    """Return the proxy through which a URL is reached, with its password, or None.

    Raises:
        ProxyError: The environment names something else than an HTTP proxy; the message holds no password.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    names = host, join_address(host, parts.port or 443)  # `NO_PROXY` may name a host, or a port of it
    if is_loopback(host) or any(urllib.request.proxy_bypass(name) for name in names):
        return None
    named = urllib.request.getproxies()
    text = named.get("https") or named.get("all")
    if not text:
        return None
    try:
        proxy = httpx.URL(text if "://" in text else f"http://{text}")
    except httpx.InvalidURL:
        proxy = httpx.URL("")
    if proxy.scheme not in {"http", "https"} or not proxy.host:
        remedy = "Name an HTTP proxy, such as http://proxy.example.org:3128."
        raise ProxyError("is not the address of an HTTP proxy", where="HTTPS_PROXY", remedy=remedy)
    return proxy


def shown(proxy: httpx.URL) -> str:
    """Return a proxy's host and port, without name and password."""
    return join_address(proxy.host, proxy.port or (443 if proxy.scheme == "https" else 80))


def open_client(url: str, verify: ssl.SSLContext | bool, **options: Any) -> httpx.Client:
    """Return a client for one coordinator, which goes through the proxy where there is one.

    Args:
        url: Of the coordinator.
        verify: How its certificate is checked.
        options: Others of `httpx.Client`.

    Raises:
        ProxyError: See `proxy_for`.
    """
    return httpx.Client(verify=verify, proxy=proxy_for(url), trust_env=False, **options)
