"""Addresses as settings name them, and the way to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.folder.coordinator import bind_address
from shared.wire.address import is_loopback, join_address, split_address
from shared.wire.proxy import ProxyError, proxy_for, shown

GOOD = {
    "fed.example.org": ("fed.example.org", None),
    "Fed.Example.org:9443": ("Fed.Example.org", 9443),
    "192.0.2.7:1": ("192.0.2.7", 1),
    "[2001:db8::7]": ("2001:db8::7", None),
    "[::1]:65535": ("::1", 65535),
}
BAD = [
    "",
    ":",
    "::1",
    "2001:db8::7:9443",
    "[::1",
    "[::1]x",
    "[::1]:",
    "[192.0.2.7]:1",
    "[fe80::1%eth0]:1",
    "fe80::1%eth0",
    "fed:0",
    "fed:65536",
    "fed:99999999999",
    "fed:port",
    "fed:",
    "fed:1:2",
    "https://fed:9443",
    "fed/path:1",
    "name@fed:1",
    "a b:1",
    "fed:1\n",
    "fed:١",
    "-fed:1",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_an_address(text: str) -> None:
    assert split_address(text) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        split_address(text)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_whatever_was_joined_can_be_split(host, port: int) -> None:
    assert split_address(join_address(str(host), port)) == (str(host), port)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        host, _ = split_address(text)
    except ValueError:
        return
    assert host
    assert not set(host) & set(" /@?#[]%\n")


def test_the_address_to_listen_on_has_the_family_of_the_name() -> None:
    assert [bind_address(host) for host in ("::1", "127.0.0.1", "localhost", "2001:db8::7", "fed.org")] == [
        "::1",
        "127.0.0.1",
        "127.0.0.1",
        "::",
        "0.0.0.0",  # noqa: S104
    ]


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch):
    """Return a function that sets what the environment says of proxies."""
    for name in ("https_proxy", "all_proxy", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def set_(**named: str) -> None:
        for name, value in named.items():
            monkeypatch.setenv(name, value)

    return set_


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost", "LOCALHOST", "a.localhost"])
def test_this_machine_is_never_behind_a_proxy(proxies, host: str) -> None:
    proxies(HTTPS_PROXY="http://proxy:3128", ALL_PROXY="http://proxy:3128")
    assert is_loopback(host.strip("[]"))
    assert proxy_for(f"https://{host}:9443") is None


def test_which_proxy_is_taken(proxies) -> None:
    proxies(http_proxy="http://wrong:1", ALL_PROXY="http://all:2")
    assert str(proxy_for("https://fed.org")) == "http://all:2"
    proxies(https_proxy="it:secret@proxy:3128")
    taken = proxy_for("https://fed.org:9443")
    assert taken is not None
    assert (taken.host, taken.port, taken.password) == ("proxy", 3128, "secret")
    assert shown(taken) == "proxy:3128"


@pytest.mark.parametrize(
    ("excluded", "aside"),
    [
        ("fed.org", True),
        ("FED.org", True),
        (".org", True),
        ("fed.org:9443", True),
        ("*", True),
        ("other.org, fed.org", True),
        ("fed.org:443", False),
        ("ed.org", False),
        ("", False),
    ],
)
def test_what_is_excluded(proxies, excluded: str, aside: bool) -> None:
    proxies(https_proxy="http://proxy:3128", no_proxy=excluded)
    assert (proxy_for("https://fed.org:9443") is None) == aside


def test_an_excluded_ipv6_address(proxies) -> None:
    proxies(https_proxy="http://proxy:3128", no_proxy="2001:db8::7")
    assert proxy_for("https://[2001:db8::7]:9443") is None
    assert proxy_for("https://[2001:db8::8]:9443") is not None


@pytest.mark.parametrize("text", ["socks5://it:secret@proxy:1", "ftp://proxy", "http://", "http://[::1:1"])
def test_what_is_no_http_proxy(proxies, text: str) -> None:
    proxies(https_proxy=text)
    with pytest.raises(ProxyError, match="not the address of an HTTP proxy") as refused:
        proxy_for("https://fed.org")
    assert "secret" not in str(refused.value)
