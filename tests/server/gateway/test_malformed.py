"""Requests that are wrong in every way get an answer with a reason, never a fault of the program.

Each is sent with what opens the doors: a valid token, an open invitation, a site's certificate.
"""

import asyncio
import base64
import json
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from server.audit.log import open_audit
from server.audit.trail import AuditTrail
from server.folder.coordinator import ANSWERS, MODELS, ServerTable, found
from server.folder.limits import Limits, PeopleLimits
from server.gateway import people
from server.gateway.answer_files import AnswersApi
from server.gateway.client_certificate import Peer
from server.gateway.enrolment_api import EnrolmentApi
from server.gateway.gateway import listen
from server.gateway.listener import Listener
from server.gateway.model_files import ModelsApi
from server.gateway.notices import Bell
from server.gateway.people import build_people_app
from server.gateway.run_desk import RunDesk
from server.gateway.runs_api import RunsApi
from server.gateway.sites import ACTIVATE, SitesApp
from server.registry.enrolment import Registry
from server.runs.folder import RunFolder
from server.superlink.superlink import SuperLinkError
from shared.flower.connection import ANSWER_PATH, ARRAY_PATH
from shared.pki.certificate_requests import certificate_request, renewal_statement
from shared.pki.certificates import new_key, server_context
from tests.jobs import make_job

RUN = "tiny-1"
ROLES = ("viewer", "researcher", "operator")
LIMITS = PeopleLimits(idle_s=1.0)
RARE = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JUNK = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
        max_leaves=20,
    ).map(lambda value: json.dumps(value).encode()),
)


class Doors:
    """Both applications of a coordinator's folder, as they are behind the listeners."""

    def __init__(self, folder: Path, job: Any) -> None:
        self.folder = folder
        self.authority = found(folder, ServerTable(name="trial", host="127.0.0.1"), None)
        self.trail = AuditTrail(open_audit(folder).append)
        self.registry = Registry(folder / "registry.sqlite", lambda event, **_: None)
        self.tokens = [self.registry.add_person(role, role) for role in ROLES]
        run = RunFolder.create(folder / "runs", job, RUN)
        run.event("run_finished")
        run.describe(status="finished", flower_run=1, researcher="researcher")
        enrolment = EnrolmentApi(self.registry, self.authority)
        self.people = build_people_app(
            self.registry,
            self.trail,
            LIMITS,
            lambda: True,
            routes=RunsApi(RunDesk(folder / "runs", self._no_flower, self.trail)).routes(),
            public=enrolment.people_routes(),
        )
        self.key = new_key()
        self.certificate = self.registry.redeem(
            self.registry.invite("st-mary"), certificate_request(self.key, "st-mary"), self.authority
        )
        bell = Bell()
        answers = AnswersApi(folder / ANSWERS, bell.allowances)
        self.sites = SitesApp(
            self.registry,
            Nobody(),
            httpx.AsyncClient(trust_env=False),
            bell=bell,
            trail=self.trail,
            limits=Limits(),
            routes=[
                *enrolment.site_routes(),
                *ModelsApi(folder / MODELS).site_routes(),
                *answers.site_routes(),
            ],
        )

    def close(self) -> None:
        self.trail.close()
        self.registry.close()

    async def as_site(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be the listener of the sites, to which a site has come with its certificate."""
        scope["state"] = {"peer": Peer.of(self.certificate.public_bytes(Encoding.DER))}
        await self.sites(scope, receive, send)

    def ask(self, method: str, path: str, *, site: bool = False, **more: Any) -> httpx.Response:
        """Return the answer; an error that the application does not handle is raised here."""

        async def asked() -> httpx.Response:
            app = self.as_site if site else self.people
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="https://doors") as client:
                return await client.request(method, path, **more)

        return asyncio.run(asked())

    @staticmethod
    def _no_flower() -> None:
        raise httpx.ReadError("no SuperLink runs in this test")


class Nobody:
    """Stands where the SuperLink would be."""

    url = "https://127.0.0.1:1"

    async def admit(self, name: str, public_key: str) -> None:
        raise SuperLinkError("no SuperLink runs in this test")


@pytest.fixture(scope="module")
def doors(tmp_path_factory) -> Iterator[Doors]:
    """Open them; nobody waits here for having failed before."""
    job = make_job(task_name="classification")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "PENALTY_S", 0.0)
        with closing(Doors(tmp_path_factory.mktemp("doors") / "coordinator", job)) as made:
            yield made


@pytest.fixture(autouse=True)
def no_faults(caplog) -> Iterator[None]:
    yield
    told = caplog.get_records("call")
    assert not [record for record in told if record.exc_info or record.levelno >= logging.ERROR]


def is_answered(answer: httpx.Response) -> None:
    assert answer.status_code < 500
    if answer.status_code >= 400:
        assert answer.text, "a reason"
        assert len(answer.text) < 20_000
        assert "Traceback" not in answer.text


REST = ["", "/events", "/stop", "/resume", "/files", "/files/job.json", "/files/%2e%2e%2fx"]
PATHS = st.one_of(
    st.sampled_from(["/v1/me", "/v1/runs", "/v1/health", "/v1/authority", "/v1/enrol", "/v1/renew", "/"]),
    st.builds(
        "/v1/runs/{}{}{}".format,
        st.sampled_from([RUN, "..", "%2e%2e", "%00", "%ff%fe", "a" * 300, "*", RUN + "%2f"]),
        st.sampled_from(REST),
        st.sampled_from(["", "?after=", "?after=-1", "?after=%C2%B2", "?after=" + "9" * 40, "?a&b=%ff"]),
    ),
    st.text(st.characters(codec="utf-8"), max_size=40).map(lambda text: "/" + quote(text)),
)
NAMES = ["accept", "content-type", "content-encoding", "range", "expect", "if-match", "x-y", "cookie"]
LINES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
PIECES = st.dictionaries(
    st.sampled_from(["wardround-question", "wardround-sha256", "wardround-first"]),
    LINES | st.sampled_from(["a" * 64, "0", "9" * 5000, "../" * 9]),
)
REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PRI"]),
        "path": PATHS,
        "headers": st.dictionaries(st.sampled_from(NAMES), LINES, max_size=3),
        "content": JUNK,
    }
)


@RARE
@given(REQUESTS, st.integers(0, 4))
def test_any_request_of_people(doors: Doors, request: dict[str, Any], who: int) -> None:
    tokens = [*doors.tokens, "x" * 43]
    if who < len(tokens):
        request["headers"]["authorization"] = f"Bearer {tokens[who]}"
    answer = doors.ask(**request)
    assert answer.status_code < 500
    if request["method"] != "HEAD":
        is_answered(answer)


@RARE
@given(st.sampled_from(["/v1/renew", ARRAY_PATH, ANSWER_PATH, "/v1/nothing"]), PIECES, JUNK)
def test_any_request_of_a_site(doors: Doors, path: str, headers: dict[str, str], body: bytes) -> None:
    answer = doors.ask("POST", path, site=True, content=body, headers=headers)
    assert 400 <= answer.status_code < 500
    is_answered(answer)
    assert list((doors.folder / ANSWERS).iterdir()) == []


def length(size: int) -> bytes:
    return bytes([size]) if size < 128 else bytes([0x82, size >> 8, size & 255])


def pem(der: bytes, kind: str) -> str:
    return f"-----BEGIN {kind}-----\n{base64.encodebytes(der).decode()}-----END {kind}-----\n"


def signed(statement: bytes, key: EllipticCurvePrivateKey) -> str:
    """Return a certificate request with any content, rightly signed by its own key."""
    signature = b"\0" + key.sign(statement, ECDSA(SHA384()))
    ecdsa_with_sha384 = bytes.fromhex("300a06082a8648ce3d040303")
    parts = statement + ecdsa_with_sha384 + b"\x03" + length(len(signature)) + signature
    return pem(b"\x30" + length(len(parts)) + parts, "CERTIFICATE REQUEST")


def changed(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    """Return bytes of which some are others."""
    found = bytearray(content)
    for at, value in changes:
        found[at % len(found)] = value
    return bytes(found)


TAGS = st.sampled_from(b"\x02\x04\x05\x06\x0c\x13\x1e\x30\x31")
CHANGES = st.lists(
    st.tuples(st.integers(0, 40) | st.integers(0, 400), st.integers(0, 255) | TAGS), min_size=1, max_size=3
)


@RARE
@given(CHANGES, st.booleans())
@example([(5, 7)], True)  # of another version
@example([(20, 0x1E)], True)  # a name in UTF-16, of odd length
def test_any_certificate_request_with_an_open_invitation(
    doors: Doors, changes: list[tuple[int, int]], is_signed: bool
) -> None:
    key = new_key()
    request = x509.load_pem_x509_csr(certificate_request(key, "st-luke"))
    if is_signed:
        text = signed(changed(request.tbs_certrequest_bytes, changes), key)
    else:
        text = pem(changed(request.public_bytes(Encoding.DER), changes), "CERTIFICATE REQUEST")
    token = doors.registry.invite("st-luke")
    answer = doors.ask("POST", "/v1/enrol", json={"token": token, "request": text})
    assert answer.status_code in {200, 403}
    is_answered(answer)
    if answer.status_code == 200:
        doors.registry.revoke("st-luke")


@RARE
@given(CHANGES, st.sampled_from(["certificate", "request", "signature"]))
def test_any_renewal_of_a_site(doors: Doors, changes: list[tuple[int, int]], what: str) -> None:
    request = x509.load_pem_x509_csr(certificate_request(doors.key, "st-mary"))
    certificate, wanted = doors.certificate.public_bytes(Encoding.DER), request.public_bytes(Encoding.DER)
    if what == "certificate":
        certificate = changed(certificate, changes)
    if what == "request":
        wanted = changed(wanted, changes)
    asked = pem(wanted, "CERTIFICATE REQUEST")
    signature = doors.key.sign(renewal_statement(asked.encode()), ECDSA(SHA384()))
    if what == "signature":
        signature = changed(signature, changes)
    body = {
        "certificate": pem(certificate, "CERTIFICATE"),
        "request": asked,
        "signature": base64.b64encode(signature).decode(),
    }
    is_answered(doors.ask("POST", "/v1/renew", site=True, json=body))


@pytest.mark.parametrize(
    "change",
    [
        {"token": None}, {"token": []}, {"token": "\x00" * 43}, {"more": 1},
        {"request": {}}, {"request": "\x00"}, {"request": "é" * 8192},
        {"request": pem(b"", "CERTIFICATE REQUEST")}, {"request": pem(b"", "CERTIFICATE REQUEST") + "!!"},
    ],
)  # fmt: skip
def test_an_enrolment_that_is_wrong_leaves_the_invitation_open(doors: Doors, change: dict[str, Any]) -> None:
    token, key = doors.registry.invite("st-anne"), new_key()
    body = {"token": token, "request": certificate_request(key, "st-anne").decode()}
    answer = doors.ask("POST", "/v1/enrol", json=body | change)
    assert answer.status_code in {400, 403}
    is_answered(answer)
    assert answer.json()["error"]
    assert doors.ask("POST", "/v1/enrol", json=body).status_code == 200
    doors.registry.revoke("st-anne")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{}", b'{"job": [], "digest": ""}', b"\x00" * 300_000,
        b'{"job": {"job": null, "": {}}, "digest": "' + b"0" * 64 + b'"}',
    ],
)  # fmt: skip
def test_a_submission_that_is_none(doors: Doors, body: bytes) -> None:
    headers = {"authorization": f"Bearer {doors.tokens[1]}"}
    answer = doors.ask("POST", "/v1/runs", headers=headers, content=body)
    assert answer.status_code in {400, 413}
    is_answered(answer)
    assert answer.json()["error"]


@pytest.fixture(scope="module")
def listener(doors: Doors) -> Iterator[tuple[Listener, int]]:
    """Put a listener before the people's application."""
    sock = listen("127.0.0.1", 0)
    context = server_context(doors.folder, sites=False)

    async def serve() -> None:
        listeners.append(Listener(doors.people, sock, context, LIMITS, doors.trail))
        ready.set()
        await listeners[0].serve()

    ready, listeners = threading.Event(), []
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait()
    yield listeners[0], sock.getsockname()[1]
    listeners[0].should_exit = True
    thread.join()


@pytest.mark.parametrize("path", ["/v1/enrol", "/v1/runs", f"/v1/runs/{RUN}/stop", "/v1/nothing"])
@pytest.mark.parametrize("how", ["cut", "closed", "slow"])
def test_who_leaves_in_the_middle_of_a_request(
    doors: Doors, listener: tuple[Listener, int], path: str, how: str
) -> None:
    server, port = listener
    context = ssl.create_default_context(cafile=doors.folder / "ca" / "ca.crt")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {doors.tokens[1]}\r\n"
    with (
        socket.create_connection(("127.0.0.1", port), 30) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(head.encode() + b"Content-Length: 1000\r\n\r\n{")
        if how == "slow":
            answer = sock.recv(1000)
            assert answer.split()[1] in {b"404", b"408", b"409"}
        elif how == "cut":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    while server.server_state.tasks:
        pass  # until its request has ended
    with httpx.Client(verify=context) as client:
        assert client.get(f"https://127.0.0.1:{port}/v1/health").status_code == 200


def test_a_superlink_that_is_away_is_said_once(doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    key = Peer.of(doors.certificate.public_bytes(Encoding.DER)).node_key.decode()
    for _ in range(5):
        answer = doors.ask("POST", ACTIVATE.decode(), site=True, headers={"flwr-public-key": key})
        assert answer.status_code == 503
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
