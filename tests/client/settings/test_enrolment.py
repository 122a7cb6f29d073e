"""A site joins and renews, against real TLS servers on loopback, honest ones and others."""

import asyncio
import socket
import sqlite3
import ssl
import stat
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from client.settings.enrolment import EnrolmentError, accept_certificate, enrol, renew, settle, write_request
from client.settings.site import SiteConfig, load_site
from client.settings.template import site_template
from server.folder.coordinator import ServerTable, found, join_string
from server.gateway.enrolment_api import EnrolmentApi
from server.gateway.request_body import LONGEST
from server.registry.enrolment import Registry
from server.registry.offline import write_answer
from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request
from shared.pki.certificates import (
    Clock,
    CredentialError,
    client_context,
    fingerprint,
    load_certificate,
    load_key,
    new_key,
    openssh,
    pem_of,
    public_key_of,
    save_key,
    server_context,
    utc_now,
    write_file,
)
from shared.pki.join_string import Join
from shared.wire.https import CoordinatorError
from simulate.federation.processes import free_ports
from tests.cli import wardround

PROJECT = Path(__file__).parents[3]


class _Announced(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextmanager
def serving(app: Starlette, context: ssl.SSLContext) -> Iterator[int]:
    """Serve an app over TLS and give the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, ssl_context_factory=lambda _config, _default: context, log_level="critical")
    server = _Announced(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        assert server.listening.wait(30)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class Coordinator:
    """A real coordinator with both listeners."""

    def __init__(self, folder: Path, clock: Clock = utc_now) -> None:
        self.folder = folder
        self.log: list[tuple[str, dict[str, str]]] = []
        self.authority = found(folder, ServerTable(name="lung-eu", host="127.0.0.1"), None, clock)
        self.registry = Registry(folder / "registry.sqlite", self.audit)
        self.api = EnrolmentApi(self.registry, self.authority)
        self.people_port = self.sites_port = 0

    def audit(self, event: str, **fields: str) -> None:
        self.log.append((event, fields))

    def invite(self, site: str = "st-mary", **changes: object) -> Join:
        ports = {"people_port": self.people_port, "sites_port": self.sites_port}
        return join_string(self.folder, site, self.registry.invite(site)).model_copy(update=ports | changes)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    coordinator = Coordinator(tmp_path_factory.mktemp("coordinator") / "fed")
    people, sites = (
        serving(Starlette(routes=routes), server_context(coordinator.folder, sites=sites))
        for routes, sites in ((coordinator.api.people_routes(), False), (coordinator.api.site_routes(), True))
    )
    with people as coordinator.people_port, sites as coordinator.sites_port:
        yield coordinator
    coordinator.registry.close()


@pytest.fixture
def coordinator(running: Coordinator) -> Coordinator:
    """Give the coordinator with nobody in it."""
    for site in running.registry.sites():
        running.registry.revoke(site.name)
    running.registry.withdraw_invitations()
    running.log.clear()
    return running


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# Joining over the network


def test_a_site_joins(coordinator: Coordinator, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    enrol(coordinator.invite(), folder)
    assert files(folder) == {
        "site.toml",
        "site.schema.json",
        "keys/site.key",
        "keys/cohort.key",
        "keys/site.crt",
        "keys/ca.crt",
    }
    for name in ("site.key", "cohort.key"):
        assert stat.S_IMODE((folder / "keys" / name).stat().st_mode) == 0o600
    assert len((folder / "keys" / "cohort.key").read_bytes()) == 32
    assert stat.S_IMODE((folder / "keys").stat().st_mode) == 0o700
    config = load_site(folder / "site.toml")
    assert config.name == "st-mary"
    assert config.site.coordinator == f"127.0.0.1:{coordinator.sites_port}"
    certificate, key = load_certificate(folder / "keys" / "site.crt"), load_key(folder / "keys" / "site.key")
    row = coordinator.registry.site_of(certificate.serial_number, key.public_key())
    assert row is not None
    assert row.public_key == openssh(public_key_of(certificate))


def test_a_site_does_not_join_twice(coordinator: Coordinator, tmp_path: Path) -> None:
    enrol(coordinator.invite(), tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    with pytest.raises(EnrolmentError, match="has joined a federation already"):
        enrol(coordinator.invite("st-paul"), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_a_token_that_was_used_is_refused(coordinator: Coordinator, tmp_path: Path) -> None:
    join = coordinator.invite()
    enrol(join, tmp_path / "first")
    with pytest.raises(CoordinatorError, match=r"refused: this invitation was used already\n  Ask the"):
        enrol(join, tmp_path / "second")
    assert not (tmp_path / "second" / "keys" / "site.crt").exists()
    assert coordinator.log[-1][0] == "enrolment-refused"
    assert coordinator.log[-1][1]["reason"] == "used-token"
    # The same folder serves for the next invitation, for another name too.
    enrol(coordinator.invite("st-paul"), tmp_path / "second")
    assert load_site(tmp_path / "second" / "site.toml").name == "st-paul"


def test_a_site_that_has_not_joined_is_told_to(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match=r"site\.crt: can't be read.*\n  Has this site joined"):
        client_context(tmp_path / "keys")


def test_a_site_toml_that_is_there_is_kept(coordinator: Coordinator, tmp_path: Path) -> None:
    join = coordinator.invite()
    own = f'[site]\nname = "st-mary"\ncoordinator = "127.0.0.1:{join.sites_port}"\n[policy]\nmax_rounds = 3\n'
    (tmp_path / "site.toml").write_text(own, encoding="utf-8")
    enrol(join, tmp_path)
    assert (tmp_path / "site.toml").read_text(encoding="utf-8") == own


def test_a_site_toml_of_another_site_is_not_overwritten(coordinator: Coordinator, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('[site]\nname = "st-paul"\n', encoding="utf-8")
    join = coordinator.invite()
    with pytest.raises(EnrolmentError, match="is not overwritten"):
        enrol(join, tmp_path)
    assert files(tmp_path) == {"site.toml"}
    assert [invitation.site for invitation in coordinator.registry.invitations()] == ["st-mary"]


def test_nobody_answers(coordinator: Coordinator, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(CoordinatorError, match="can't be reached"):
        enrol(coordinator.invite(people_port=port), tmp_path / "site")
    assert not (tmp_path / "site").exists()


# In the middle


class Interceptor:
    """A server with another authority's certificate that notes everything that it is told."""

    def __init__(self, folder: Path, shown: Authority | None = None) -> None:
        self.own = found(folder, ServerTable(name="lung-eu", host="127.0.0.1"), None)
        self.shown = shown or self.own
        self.folder = folder
        self.heard: list[tuple[str, bytes]] = []
        self.app = Starlette(routes=[Route("/{path:path}", self.hear, methods=["GET", "POST"])])

    async def hear(self, request: Request) -> Response:
        self.heard.append((request.url.path, await request.body()))
        return PlainTextResponse(pem_of(self.shown.certificate))


def test_another_authority_is_noticed_before_anything_is_sent(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    middle = Interceptor(tmp_path / "middle")
    with (
        serving(middle.app, server_context(middle.folder, sites=False)) as port,
        pytest.raises(CredentialError, match="another authority than the invitation says"),
    ):
        enrol(coordinator.invite(people_port=port), tmp_path / "site")
    assert middle.heard == [("/v1/authority", b"")]
    assert not (tmp_path / "site").exists()


def test_a_copy_of_the_authoritys_certificate_does_not_help(coordinator: Coordinator, tmp_path: Path) -> None:
    middle = Interceptor(tmp_path / "middle", coordinator.authority)
    with (
        serving(middle.app, server_context(middle.folder, sites=False)) as port,
        pytest.raises(CoordinatorError, match=r"did not show a certificate of the federation's authority"),
    ):
        enrol(coordinator.invite(people_port=port), tmp_path / "site")
    assert middle.heard == [("/v1/authority", b"")]


def test_a_site_of_the_federation_can_not_stand_in_the_middle(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    enrol(coordinator.invite("st-paul"), tmp_path / "insider")
    middle = Interceptor(tmp_path / "middle", coordinator.authority)
    for name in ("key", "crt"):
        stolen = (tmp_path / "insider" / "keys" / f"site.{name}").read_bytes()
        (middle.folder / "tls" / f"server.{name}").write_bytes(stolen)
    with (
        serving(middle.app, server_context(middle.folder, sites=False)) as port,
        pytest.raises(CoordinatorError, match="did not show a certificate"),
    ):
        enrol(coordinator.invite(people_port=port), tmp_path / "site")
    assert middle.heard == [("/v1/authority", b"")]


def test_an_endless_answer_is_cut(coordinator: Coordinator, tmp_path: Path) -> None:
    app = Starlette(routes=[Route("/{path:path}", lambda _request: PlainTextResponse(b"x" * 2**20))])
    with (
        serving(app, server_context(coordinator.folder, sites=False)) as port,
        pytest.raises(CoordinatorError, match="too long"),
    ):
        enrol(coordinator.invite(people_port=port), tmp_path / "site")


# What the endpoints refuse


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"token": "short", "request": ""}', 400),
        (b'{"token": "\\ud800aaaaaaaaaaaaaaaaaaaaa", "request": ""}', 400),
        (b'{"token": "' + b"x" * 43 + b'", "request": "", "role": "operator"}', 400),
        (b'{"token": "' + b"x" * 43 + b'", "request": ""}', 403),
        (b"x" * (LONGEST + 1), 413),
    ],
)
def test_bodies_that_are_refused(coordinator: Coordinator, body: bytes, status: int) -> None:
    context = ssl.create_default_context(cadata=pem_of(coordinator.authority.certificate).decode())
    url = f"https://127.0.0.1:{coordinator.people_port}/v1/enrol"
    with httpx.Client(verify=context) as client:
        answer = client.post(url, content=body)
    assert answer.status_code == status
    assert "Traceback" not in answer.text


# Renewal


def half_through(coordinator: Coordinator, keys: Path) -> None:
    """Put a certificate in place that is valid for 40 of its 90 days more."""
    old = load_certificate(keys / "site.crt")
    past = replace(coordinator.authority, clock=lambda: datetime.now(UTC) - timedelta(days=50))
    aged = past.sign_site(certificate_request(load_key(keys / "site.key"), "st-mary"), "st-mary")
    with closing(sqlite3.connect(coordinator.folder / "registry.sqlite")) as db, db:
        row = (f"{aged.serial_number:x}", int(aged.not_valid_after_utc.timestamp()))
        db.execute(
            "UPDATE certificate SET serial = ?, expires = ? WHERE serial = ?",
            (*row, f"{old.serial_number:x}"),
        )
    (keys / "site.crt").write_bytes(pem_of(aged))


def test_a_certificate_is_renewed(coordinator: Coordinator, tmp_path: Path) -> None:
    enrol(coordinator.invite(), tmp_path)
    half_through(coordinator, tmp_path / "keys")
    key = (tmp_path / "keys" / "site.key").read_bytes()
    first = load_certificate(tmp_path / "keys" / "site.crt")
    second = renew(tmp_path)
    assert load_certificate(tmp_path / "keys" / "site.crt") == second != first
    assert (tmp_path / "keys" / "site.key").read_bytes() == key
    with pytest.raises(CoordinatorError, match="can be renewed from"):
        renew(tmp_path)
    assert load_certificate(tmp_path / "keys" / "site.crt") == second


def test_the_key_is_changed(coordinator: Coordinator, tmp_path: Path) -> None:
    enrol(coordinator.invite(), tmp_path)
    before = load_key(tmp_path / "keys" / "site.key")
    cohort = (tmp_path / "keys" / "cohort.key").read_bytes()
    certificate = renew(tmp_path, change_key=True)
    after = load_key(tmp_path / "keys" / "site.key")
    assert after.public_key() == public_key_of(certificate) != before.public_key()
    client_context(tmp_path / "keys")
    assert files(tmp_path / "keys") == {"site.key", "cohort.key", "site.crt", "ca.crt"}
    assert (tmp_path / "keys" / "cohort.key").read_bytes() == cohort  # the split is for good
    kept = {site.name: site.public_key for site in coordinator.registry.sites()}
    assert kept["st-mary"] == openssh(after.public_key())


def test_a_revoked_site_is_not_renewed(coordinator: Coordinator, tmp_path: Path) -> None:
    enrol(coordinator.invite(), tmp_path)
    before = (tmp_path / "keys" / "site.crt").read_bytes()
    coordinator.registry.revoke("st-mary")
    with pytest.raises(CoordinatorError, match="refused: the site 'st-mary' was revoked"):
        renew(tmp_path)
    assert coordinator.log[-1][1]["reason"] == "revoked"
    assert (tmp_path / "keys" / "site.crt").read_bytes() == before


@pytest.mark.parametrize("moment", ["key written", "both written", "key in place", "done"])
def test_a_change_of_key_that_was_cut_off_is_settled(
    coordinator: Coordinator, tmp_path: Path, moment: str
) -> None:
    keys, wanted = tmp_path / "keys", new_key()
    enrol(coordinator.invite(), tmp_path)
    certificate = coordinator.authority.sign_server(wanted.public_key(), "127.0.0.1")
    save_key(keys / "site.key.new", wanted)
    if moment != "key written":
        write_file(keys / "site.crt.new", pem_of(certificate))
    if moment in {"key in place", "done"}:
        (keys / "site.key.new").replace(keys / "site.key")
    if moment == "done":
        (keys / "site.crt.new").replace(keys / "site.crt")
    settle(keys)
    client_context(keys)  # key and certificate fit
    assert files(keys) == {"site.key", "cohort.key", "site.crt", "ca.crt"}
    is_new = load_key(keys / "site.key").public_key() == wanted.public_key()
    assert is_new == (moment != "key written")


# Joining by files


def test_a_site_joins_by_files(coordinator: Coordinator, tmp_path: Path) -> None:
    join = coordinator.invite()
    spoken = write_request(join, tmp_path, tmp_path / "site.csr")
    assert spoken.startswith("SHA256:")
    certificate = coordinator.registry.sign((tmp_path / "site.csr").read_bytes(), coordinator.authority)
    write_answer(tmp_path / "site.answer", certificate, coordinator.authority)
    accept_certificate(join, tmp_path, tmp_path / "site.answer")
    renew(tmp_path, change_key=True)


def test_an_answer_that_does_not_fit_is_refused(coordinator: Coordinator, tmp_path: Path) -> None:
    join, folder, answer = coordinator.invite(), tmp_path / "site", tmp_path / "answer"
    write_request(join, folder, tmp_path / "site.csr")
    request = (tmp_path / "site.csr").read_bytes()
    other = Authority.create(tmp_path / "other", "lung-eu", "127.0.0.1")

    def refused(certificate: bytes, authority: Authority, problem: str) -> None:
        answer.write_bytes(certificate + pem_of(authority.certificate))
        with pytest.raises(CredentialError, match=problem):
            accept_certificate(join, folder, answer)
        assert not (folder / "keys" / "site.crt").exists()

    refused(pem_of(other.sign_site(request, "st-mary")), other, "not of the federation that invited")
    refused(
        pem_of(other.sign_site(request, "st-mary")), coordinator.authority, "not signed by this federation"
    )
    other_key = coordinator.authority.sign_server(new_key().public_key(), "127.0.0.1")
    refused(pem_of(other_key), coordinator.authority, "not for the site 'st-mary' and its key")
    past = Authority(
        tmp_path,
        coordinator.authority.key,
        coordinator.authority.certificate,
        lambda: datetime.now(UTC) - timedelta(days=9),
    )
    refused(pem_of(past.sign_site(request, "st-mary", days=1)), coordinator.authority, "is valid from")
    answer.write_bytes(b"hello")
    with pytest.raises(CredentialError, match="not a certificate"):
        accept_certificate(join, folder, answer)


# site.toml


def test_the_template_names_every_key_and_can_be_put_in(tmp_path: Path) -> None:
    text = site_template("st-mary", "fed.example.org:9443")
    assert tomllib.loads(text)["site"] == {"name": "st-mary", "coordinator": "fed.example.org:9443"}
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    active = [line for line in lines if " = " in line or line.startswith("[")]
    (tmp_path / "site.toml").write_text("\n".join(active), encoding="utf-8")
    config = load_site(tmp_path / "site.toml")
    assert set(SiteConfig.model_fields) == config.model_fields_set
    for table in (config.policy, config.device, config.dataset("brain-lgg")):
        assert set(type(table).model_fields) == table.model_fields_set


def test_the_example_is_the_template() -> None:
    example = (PROJECT / "configs" / "sites" / "st-mary.toml").read_text(encoding="utf-8")
    assert example == site_template("st-mary", "federation.example.org:9443", "../schemas")


# The command line


@pytest.fixture
def client(tmp_path: Path) -> Callable[..., CompletedProcess[str]]:
    def run(*arguments: str | Path, stdin: str = "") -> CompletedProcess[str]:
        return wardround("client", *arguments, stdin=stdin, cwd=tmp_path)

    return run


def test_joining_and_renewing_by_command(
    coordinator: Coordinator, tmp_path: Path, client: Callable[..., CompletedProcess[str]]
) -> None:
    join = coordinator.invite()
    cut = client("enrol", str(join)[:-3], "--dir", "site")
    assert cut.returncode == 2
    assert "Copy the whole line" in cut.stderr
    joined = client("enrol", "-", "--dir", "site", stdin=f"{join}\n")
    assert joined.returncode == 0, joined.stderr
    assert join.token not in joined.stdout + joined.stderr
    renewed = client("renew", "--new-key", "--dir", "site")
    assert renewed.returncode == 0, renewed.stderr
    assert "valid until" in renewed.stdout
    assert fingerprint(load_certificate(tmp_path / "site" / "keys" / "ca.crt")) == join.authority
    assert client("renew", "--dir", "elsewhere").returncode == 2


def test_joining_by_files_by_command(
    coordinator: Coordinator, tmp_path: Path, client: Callable[..., CompletedProcess[str]]
) -> None:
    join = str(coordinator.invite())
    asked = client("enrol", "-", "--dir", "site", "--request-out", "site.csr", stdin=join)
    assert asked.returncode == 0, asked.stderr
    assert "SHA256:" in asked.stdout
    certificate = coordinator.registry.sign((tmp_path / "site.csr").read_bytes(), coordinator.authority)
    write_answer(tmp_path / "site.csr.crt", certificate, coordinator.authority)
    ended = client("enrol", "-", "--dir", "site", "--certificate", "site.csr.crt", stdin=join)
    assert ended.returncode == 0, ended.stderr
    both = ("--request-out", "a", "--certificate", "b")
    assert client("enrol", "-", *both, stdin=join).returncode == 2
