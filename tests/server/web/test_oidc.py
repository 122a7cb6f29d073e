"""Log-in with accounts of a provider that runs as a process: by browser, as a device; who is not let in."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import tomli_w
from joserfc.jwk import RSAKey

from server.folder.coordinator import FolderError, load_settings
from server.folder.login import load_login, log_in, token_by_account
from server.oidc.id_token import usable_keys
from server.oidc.log_ins import UnderWay
from server.oidc.provider import Provider
from server.oidc.settings import OidcError, OidcTable
from server.registry.store import RegistryError
from server.runs.remote import RemoteCoordinator
from server.service.check import check_coordinator
from shared.errors import WardroundError
from shared.pki.certificates import fingerprint, load_certificate
from simulate.federation.processes import free_ports
from tests.browser import watched_tab
from tests.cli import started
from tests.server.web.place import Place, open_place

PROVIDER = Path(__file__).with_name("provider.py")
USERS = {
    "grace": {"preferred_username": "Grace Hopper", "groups": ["heart-researchers", "others"]},
    "rita": {"preferred_username": "rita", "groups": ["heart-readers", "heart-operators"]},
    "noone": {"preferred_username": "noone", "groups": ["others"]},
    "thief": {"preferred_username": "ada", "groups": ["heart-researchers"]},
    "nameless": {"groups": "heart-readers"},
    "numbered": {"preferred_username": "numbered", "groups": 5},
    "keyed": {"preferred_username": "keyed", "groups": {"heart-operators": False}},
}
GROUPS = [
    {"name": "heart-readers", "role": "viewer", "projects": ["default"]},
    {"name": "heart-researchers", "role": "researcher", "projects": ["default"]},
    {"name": "heart-operators", "role": "operator"},
]


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    [port] = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    environment = {"AUTHLIB_INSECURE_TRANSPORT": "1", "PATH": "/usr/bin"}
    command = [sys.executable, str(PROVIDER), str(port), address, json.dumps(USERS)]
    with started(command, env=environment, stderr=subprocess.DEVNULL) as process:
        while True:
            try:
                httpx.get(f"{address}/jwks").raise_for_status()
                break
            except httpx.HTTPError:
                assert process.poll() is None
                time.sleep(0.1)
        yield address
        process.terminate()


@pytest.fixture(scope="module")
def settings(issuer: str, tmp_path_factory) -> OidcTable:
    secret = tmp_path_factory.mktemp("secret") / "oidc.secret"
    secret.write_text("a secret of the client: +/%\n", encoding="utf-8")
    secret.chmod(0o600)
    return OidcTable.model_validate(
        {"issuer": issuer, "client_id": "wardround", "client_secret": f"file:{secret}", "groups": GROUPS}
    )


@pytest.fixture(scope="module")
def hall(settings: OidcTable, tmp_path_factory) -> Iterator[Place]:
    """Return a coordinator whose people may have accounts."""
    with ExitStack() as stack:
        yield stack.enter_context(open_place(tmp_path_factory.mktemp("oidc") / "coordinator", oidc=settings))


@pytest.fixture
def client(hall: Place) -> Iterator[httpx.Client]:
    with httpx.Client(verify=False, base_url=hall.url, timeout=30) as opened:  # noqa: S501
        yield opened


def go(client: httpx.Client, user: str, *, to: str = "/", fault: str = "", **changed: str) -> httpx.Response:
    """Go to the provider, log in there and come back, with what comes back changed."""
    asked = client.get("/log-in/oidc", params={"next": to})
    assert asked.status_code == 303, asked.text
    issuer = asked.headers["location"].partition("/authorize")[0]
    if fault:
        httpx.post(f"{issuer}/spoil", data={"fault": fault})
    answer = httpx.post(asked.headers["location"], data={"user": user})
    query = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    return client.get("/log-in/oidc/back", params={**query, **changed})


def test_an_account_logs_in_with_what_its_groups_give(client: httpx.Client, hall: Place) -> None:
    assert "your institution&#39;s account" in client.get("/log-in").text
    answer = go(client, "grace", to="/sites")
    assert answer.status_code == 200
    assert "Logged in as grace-hopper" in answer.text
    assert re.search(r'http-equiv="refresh" content="0; url=/sites"', answer.text)
    page = client.get("/")
    assert "grace-hopper" in page.text
    assert client.get("/submit").status_code == 200  # a researcher
    assert "logged-in" in hall.events()
    assert go(client, "rita").status_code == 200
    assert "All projects" in client.get("/people").text  # the higher of two roles


def test_a_real_browser_goes_there_and_comes_back_logged_in(hall: Place) -> None:
    """Its cookie is strict, and the way back from another site must not lose it."""
    with watched_tab(trusts_all=True) as tab:
        tab.page.goto(f"{hall.url}/sites")
        tab.page.click("text=your institution's account")
        tab.page.fill("#user", "grace")
        tab.page.click("button")
        tab.page.wait_for_url(f"{hall.url}/sites")
        assert tab.page.text_content("h1") == "Sites"
        assert "grace-hopper" in (tab.page.text_content("header") or "")


def test_what_goes_to_the_provider_is_bound_to_this_browser(client: httpx.Client) -> None:
    asked = client.get("/log-in/oidc")
    query = parse_qs(urlsplit(asked.headers["location"]).query)
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["nonce"][0]) >= 43
    assert query["redirect_uri"][0].startswith("https://127.0.0.1")
    assert all(
        word in asked.headers["set-cookie"] for word in ("Secure", "HttpOnly", "SameSite=lax", "__Host-")
    )


@pytest.mark.parametrize(
    "fault",
    ["none", "hs256", "key", "issuer", "audience", "two-audiences", "party", "expired", "nonce"],
)
def test_an_id_token_that_is_not_what_it_seems_is_refused(client: httpx.Client, fault: str) -> None:
    answer = go(client, "grace", fault=fault)
    assert answer.status_code == 403
    assert "ID token" in answer.text
    assert client.get("/").status_code == 303


def test_a_provider_may_change_its_keys(client: httpx.Client, hall: Place) -> None:
    assert go(client, "grace").status_code == 200
    hall.skip(31)  # keys are not read again at once, whatever a token names
    assert go(client, "grace", fault="new-key").status_code == 200


@pytest.mark.parametrize("changed", [{"state": "x"}, {"code": "x"}, {"code": ""}, {"error": "access_denied"}])
def test_a_way_back_that_was_not_begun_here_is_refused(client: httpx.Client, changed: dict[str, str]) -> None:
    assert go(client, "grace", **changed).status_code == 403
    assert client.get("/").status_code == 303


def test_a_way_back_is_gone_once(client: httpx.Client, hall: Place) -> None:
    asked = client.get("/log-in/oidc")
    answer = httpx.post(asked.headers["location"], data={"user": "grace"})
    query = urlsplit(answer.headers["location"]).query
    with httpx.Client(verify=False, base_url=hall.url) as other:  # noqa: S501
        assert other.get(f"/log-in/oidc/back?{query}").status_code == 403  # somebody else's browser
    cookies = dict(client.cookies)
    assert client.get(f"/log-in/oidc/back?{query}").status_code == 200
    client.cookies.update(cookies)
    assert client.get(f"/log-in/oidc/back?{query}").status_code == 403


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("noone", "none of the groups"),
        ("numbered", "none of the groups"),
        ("keyed", "none of the groups"),
        ("thief", "somebody else"),
        ("nameless", "has no"),
    ],
)
def test_who_is_not_let_in(client: httpx.Client, user: str, said: str) -> None:
    answer = go(client, user)
    assert answer.status_code == 403
    assert said in answer.text
    assert client.get("/").status_code == 303


def test_a_name_stays_with_its_account(hall: Place) -> None:
    def log_in_as(subject: str, wanted: str, role: str = "viewer") -> str:
        token = hall.registry.log_in_account("iss", subject, wanted, role=role, projects=["default"], hours=1)
        person = hall.registry.person_of(token)
        assert person is not None
        assert person.role == role
        return person.name

    assert log_in_as("1", "kim") == "kim"
    assert log_in_as("1", "another", "researcher") == "kim"  # its provider calls it otherwise now
    with pytest.raises(RegistryError, match="somebody else's"):
        log_in_as("2", "kim")
    with pytest.raises(RegistryError, match="an account's name"):
        hall.registry.add_person("kim", "viewer", projects=["default"])
    with pytest.raises(RegistryError, match="no project"):
        hall.registry.log_in_account("iss", "3", "lee", role="viewer", projects=["nope"], hours=1)
    hall.registry.add_person("lea", "researcher", projects=["default"])
    hall.registry.remove_person("lea")
    with pytest.raises(RegistryError, match="was, somebody else's"):  # her runs would be theirs
        log_in_as("4", "lea", "researcher")
    hall.registry.add_person("lea", "viewer", projects=["default"])  # the operator knows who it is
    hall.registry.remove_person("lea")


def test_one_address_crowds_nobody_out(hall: Place) -> None:
    """Whoever is not logged in may begin log-ins, thousands of them."""
    under_way: UnderWay[str] = UnderWay(hall.time)
    others = [under_way.add(f"log-in {number}", 600, f"10.0.0.{number}") for number in range(10)]
    flood = [under_way.add("flood", 600, "192.0.2.1") for _ in range(3000)]
    assert [under_way.of(key) for key in others] == [f"log-in {number}" for number in range(10)]
    assert under_way.of(flood[-1]) == "flood"
    with pytest.raises(OidcError, match="has ended"):
        under_way.of(flood[0])
    for number in range(3000):  # and from many addresses, those that have begun most
        under_way.add("flood", 600, f"192.0.{number % 100}.2")
    assert [under_way.of(key) for key in others] == [f"log-in {number}" for number in range(10)]


def test_devices_of_one_address_ask_the_provider_so_often_and_not_more(
    client: httpx.Client, hall: Place
) -> None:
    answers = [client.post("/v1/oidc/device") for _ in range(25)]
    assert {answer.status_code for answer in answers[-5:]} == {409}
    assert "under way from this address" in answers[-1].json()["error"]
    hall.skip(2000)
    assert client.post("/v1/oidc/device").status_code == 201


def test_a_provider_that_can_not_be_used_is_asked_once_whoever_comes(settings: OidcTable) -> None:
    """Nobody needs to be known to ask for a log-in; each used to become a question to the provider."""
    asked, now = [], [0.0]

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async def flood() -> list[BaseException | str]:
        async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            away = settings.model_copy(update={"issuer": f"http://127.0.0.1:{port}"})
            provider = Provider(away, lambda: now[0])

            async def ask() -> str:
                return await provider.authorize_url("back", state="s", nonce="n", challenge="c")

            errors = await asyncio.gather(*(ask() for _ in range(50)), return_exceptions=True)
            now[0] = 6.0  # seconds later it is asked again
            return [*errors, *await asyncio.gather(ask(), return_exceptions=True)]

    errors = asyncio.run(flood())
    assert len(asked) == 2
    assert all(isinstance(error, OidcError) and "refuses (500)" in str(error) for error in errors)


def test_a_key_that_is_none_leaves_the_others() -> None:
    key = RSAKey.generate_key(2048, {"kid": "one"}).as_dict(private=False)
    odd = [
        {"kty": "RSA", "n": 5},
        {"kty": "EC", "crv": "none", "x": "", "y": ""},
        {"kty": "oct", "k": "AA"},
        7,
    ]
    assert usable_keys({"keys": [*odd, key]}) == [key]


def test_tokens_of_accounts_end_by_themselves_and_by_the_operator(hall: Place) -> None:
    def token() -> str:
        return hall.registry.log_in_account("iss", "9", "max", role="viewer", projects=["default"], hours=2)

    first = token()
    assert hall.registry.person_of(first) is not None
    hall.clock.days = 3 / 24
    assert hall.registry.person_of(first) is None
    hall.clock.days = 0
    second = token()
    assert [person.role for person in hall.registry.people() if person.name == "max"] == ["viewer"]
    hall.registry.remove_person("max")
    assert hall.registry.person_of(second) is None
    many = [token() for _ in range(25)]
    assert hall.registry.person_of(many[-1]) is not None
    assert hall.registry.person_of(many[0]) is None


def test_a_device_logs_in_once_somebody_confirms_it(hall: Place, issuer: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    authority = fingerprint(load_certificate(hall.folder / "ca" / "ca.crt"))
    shown: list[object] = []

    def confirm(seconds: float) -> None:
        assert seconds >= 1
        hall.skip(seconds)
        if len(shown) == 2:  # asked once before anybody has confirmed it
            httpx.post(f"{issuer}/device", data={"user": "grace", "user_code": shown[0].text})
        shown.append(seconds)

    token = token_by_account(hall.url, authority, shown.append, confirm)
    assert shown[0].address.startswith(f"{issuer}/device?user_code=")
    assert log_in(hall.url, authority, token) == ("grace-hopper", "researcher")
    assert RemoteCoordinator(load_login()).list() == []

    shown.clear()

    def deny(_: float) -> None:
        hall.skip(5)
        httpx.post(f"{issuer}/device", data={"user": "grace", "user_code": shown[0].text, "allow": "no"})

    with pytest.raises(WardroundError, match="denied"):
        token_by_account(hall.url, authority, shown.append, deny)


def test_who_begins_all_the_time_does_not_trouble_the_provider(client: httpx.Client, hall: Place) -> None:
    hall.skip(3600)  # what other tests have begun has ended
    answers = [client.post("/v1/oidc/device").status_code for _ in range(21)]
    assert answers == [201] * 20 + [409]
    hall.skip(3600)
    assert client.post("/v1/oidc/device").status_code == 201


def test_a_device_that_did_not_begin_gets_nothing(client: httpx.Client) -> None:
    answer = client.post("/v1/oidc/token", json={"key": "x" * 43})
    assert "was not begun here" in answer.json()["error"]
    assert client.post("/v1/oidc/token", json={"key": ""}).status_code == 400


def test_the_check_asks_the_provider(settings: OidcTable, hall: Place, tmp_path) -> None:
    def said(**changed: object) -> tuple[str, str]:
        shutil.copytree(hall.folder, tmp_path / "copy", dirs_exist_ok=True)
        table = tomli_w.dumps({"oidc": settings.model_dump(mode="json", exclude_none=True) | changed})
        with (tmp_path / "copy" / "server.toml").open("a", encoding="utf-8") as file:
            file.write(table)
        [found] = [one for one in check_coordinator(tmp_path / "copy") if one.what == "accounts"]
        return found.state, found.detail

    assert said() == ("ok", f"of {settings.issuer}: log-in in browsers and on the command line")
    assert said(issuer="http://127.0.0.1:9")[0] == "failure"
    assert "calls itself" in said(issuer=f"{settings.issuer}/")[1]
    assert "no such project: nope" in said(groups=[{"name": "g", "role": "viewer", "projects": ["nope"]}])[1]
    nowhere = {"client_secret": "env:WARDROUND_NO_SUCH_SECRET"}
    assert "environment has no" in said(**nowhere)[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('issuer = "http://id.example.org"\nclient_id = "w"', "must be https"),
        ('issuer = "https://u:p@id.example.org"\nclient_id = "w"', "must be https"),
        ('issuer = "https://id.example.org"\nclient_id = "w"\nscopes = ["profile"]', "must hold 'openid'"),
        ('issuer = "https://id.example.org"\nclient_id = "w"\nclient_secret = "hunter2"', "client_secret"),
    ],
)
def test_settings_that_are_not_safe_are_refused(hall: Place, tmp_path, text: str, said: str) -> None:
    content = (hall.folder / "server.toml").read_text(encoding="utf-8")
    group = '[[oidc.groups]]\nname = "g"\nrole = "viewer"\n'
    (tmp_path / "server.toml").write_text(f"{content}\n[oidc]\n{text}\n{group}", encoding="utf-8")
    with pytest.raises(FolderError, match=said):
        load_settings(tmp_path)
