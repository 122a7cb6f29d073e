"""A gateway process with real certificates, and raw connections to it."""

import asyncio
import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from server.gateway.notices import BELL, Rope

PROJECT = Path(__file__).parents[3]
COORDINATOR = Path(__file__).with_name("coordinator.py")
NOW = datetime.now(UTC)


class Ca:
    """A certificate authority for tests."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.sign(self.key.public_key(), name, self.name, ca=True)

    def sign(self, key, name, issuer=None, *, ca=False, server=False, days=(-10, 10)) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + timedelta(days=days[0]))
            .not_valid_after(NOW + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if ca:
            usages = dict.fromkeys(
                ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
                 "key_agreement", "encipher_only", "decipher_only"), False
            )  # fmt: skip
            key_usage = x509.KeyUsage(**usages, key_cert_sign=True, crl_sign=True)
            builder = builder.add_extension(key_usage, critical=True)
        else:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if server:
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, SHA384())


@dataclass
class Credential:
    """A key with a certificate, and the files that TLS reads."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "site.crt").write_bytes(self.certificate.public_bytes(Encoding.PEM))
        (self.folder / "site.key").write_bytes(
            self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )

    @property
    def node_key(self) -> bytes:
        pem = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(pem)

    @property
    def openssh(self) -> str:
        return self.key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@dataclass
class Upstream:
    """Stands where the SuperLink would be: answers with the length and digest of what arrives."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    aborted: threading.Event = field(default_factory=threading.Event)
    messages: list[bytes] = field(default_factory=list)  # that wait for a site
    handed_out: threading.Event = field(default_factory=threading.Event)

    async def hand_out(self, request: Request) -> Response:
        if not self.messages:
            return await self.consume(request)
        self.handed_out.set()
        return Response(self.messages.pop(0))

    async def consume(self, request: Request) -> Response:
        self.paths.append(request.url.path)
        size, digest = 0, sha256()
        try:
            async for chunk in request.stream():
                size += len(chunk)
                digest.update(chunk)
        except Exception:
            self.aborted.set()
            raise
        self.headers = request.headers
        return PlainTextResponse(f"{size} {digest.hexdigest()}")

    async def give(self, request: Request) -> Response:
        size = int(await request.body())

        async def chunks():
            for _ in range(size // 65536):
                yield bytes(65536)

        return StreamingResponse(chunks(), headers={"connection": "close", "x-kept": "yes"})


@dataclass
class Federation:
    """A running gateway, its files and its people."""

    folder: Path
    ca: Ca
    upstream: Upstream
    process: subprocess.Popen[str]
    sites_port: int
    people_port: int

    def credential(self, name: str, *, ca: Ca | None = None, admitted: bool = True, **how) -> Credential:
        key = ec.generate_private_key(ec.SECP384R1())
        certificate = (ca or self.ca).sign(key.public_key(), name, **how)
        made = Credential(key, certificate, self.folder / "sites" / f"{name}-{certificate.serial_number}")
        if admitted:
            self.edit_site(made, name=name, state="joined")
        return made

    def edit_site(self, credential: Credential, **row: str) -> None:
        path = self.folder / "registry.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        serial = str(credential.certificate.serial_number)
        content["sites"][serial] = {
            "public_key": credential.openssh,
            **content["sites"].get(serial, {}),
            **row,
        }
        path.with_suffix(".new").write_text(json.dumps(content), encoding="utf-8")
        path.with_suffix(".new").replace(path)

    def context(self, credential: Credential | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=self.folder / "ca.crt")
        if credential:
            made.load_cert_chain(credential.folder / "site.crt", credential.folder / "site.key")
        return made

    @contextmanager
    def connect(self, credential: Credential | None, *, people: bool = False) -> Iterator["Connection"]:
        address = ("127.0.0.1", self.people_port if people else self.sites_port)
        with (
            socket.create_connection(address, timeout=20) as raw,
            self.context(credential).wrap_socket(raw, server_hostname="127.0.0.1") as wrapped,
        ):
            yield Connection(wrapped)

    @contextmanager
    def run(self, **answers: int) -> Iterator[Rope]:
        """Stand for the process of a run that waits for answers of so many bytes, by site."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(BELL, (self.folder / "bell").read_text(encoding="utf-8"))
            rope = Rope()
        for site, size in answers.items():
            rope.expect(size, {site.replace("_", "-"): ["a" * 64]})
        yield rope
        rope.close()

    def audit(self, event: str) -> list[dict[str, str]]:
        lines = (self.folder / "audit.jsonl").read_text(encoding="utf-8").splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]


@dataclass
class Connection:
    """A raw HTTP connection."""

    sock: ssl.SSLSocket
    rest: bytes = b""

    def send(self, *parts: bytes) -> None:
        self.sock.sendall(b"".join(parts))

    def send_until_cut(self, data: bytes, *, every: float = 0) -> int:
        """Send the same again and again; return how often until the other side cut the connection."""
        count = 0
        try:
            while True:
                self.send(data)
                count += 1
                time.sleep(every)
        except OSError:
            return count

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the next answer; status 0 when the connection ended instead."""
        head, split, rest = self._until(b"\r\n\r\n")
        if not split:
            return 0, {}, b""
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        size = int(headers.get("content-length", 0))
        while len(rest) < size and (more := self._more()):
            rest += more
        self.rest = rest[size:]
        return int(first.split()[1]), headers, rest[:size]

    def ended(self) -> bool:
        """Wait for the end of the connection, whatever still comes before it."""
        self.drain()
        return True

    def drain(self) -> int:
        """Return the number of bytes that come before the end."""
        size = 0
        while more := self._more():
            size += len(more)
        return size

    def read(self, size: int) -> None:
        """Take so many bytes of what comes, or fail."""
        while size > 0:
            more = self._more()
            assert more, "the connection ended"
            size -= len(more)

    def _until(self, mark: bytes) -> tuple[bytes, bytes, bytes]:
        data = self.rest
        while mark not in data and (more := self._more()):
            data += more
        return data.partition(mark)

    def _more(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except TimeoutError:
            raise
        except OSError:
            return b""


def post(
    path: str, credential: Credential, body: bytes = b"", *, length: int | None = None, more: bytes = b""
) -> bytes:
    """Return a request as a site's node sends it."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\nflwr-public-key: "
    )
    return head.encode() + credential.node_key + b"\r\n" + more + b"\r\n" + body


@contextmanager
def gateway(folder: Path, ca: Ca, upstream: Upstream) -> Iterator[Federation]:
    """Run a gateway process; `upstream.url` is an address, or `flower`."""
    server_key = ec.generate_private_key(ec.SECP384R1())
    server = Credential(server_key, ca.sign(server_key.public_key(), "server", server=True), folder)
    for suffix in ("crt", "key"):
        (server.folder / f"site.{suffix}").rename(folder / f"server.{suffix}")
    (folder / "ca.crt").write_bytes(ca.certificate.public_bytes(Encoding.PEM))
    people = {role[0] * 43: [f"a-{role}", role] for role in ("viewer", "researcher", "operator")}
    (folder / "registry.json").write_text(json.dumps({"sites": {}, "people": people}), encoding="utf-8")
    with (
        (folder / "coordinator.log").open("w") as errors,
        subprocess.Popen(
            [sys.executable, COORDINATOR, folder, upstream.url],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        ) as process,
    ):
        assert process.stdout is not None
        ports = process.stdout.readline().split()
        assert ports, (folder / "coordinator.log").read_text()
        yield Federation(folder, ca, upstream, process, *map(int, ports))
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert "Traceback" not in (folder / "coordinator.log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ca() -> Ca:
    return Ca("test federation")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory, ca: Ca) -> Iterator[Upstream]:
    folder = tmp_path_factory.mktemp("upstream")
    key = ec.generate_private_key(ec.SECP384R1())
    Credential(key, ca.sign(key.public_key(), "upstream", server=True), folder)
    made = Upstream()
    app = Starlette(
        routes=[
            Route("/v1/fleet/pull-object", made.give, methods=["POST"]),
            Route("/v1/fleet/pull-messages", made.hand_out, methods=["POST"]),
            Route("/{path:path}", made.consume, methods=["POST", "GET"]),
        ]
    )
    with socket.create_server(("127.0.0.1", 0)) as sock:
        made.url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        config = uvicorn.Config(
            app, ssl_certfile=folder / "site.crt", ssl_keyfile=folder / "site.key", log_config=None
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=asyncio.run, args=(server.serve([sock]),))
        thread.start()
        yield made
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory, ca: Ca, upstream: Upstream) -> Iterator[Federation]:
    with gateway(tmp_path_factory.mktemp("gateway"), ca, upstream) as running:
        yield running


@pytest.fixture
def site(federation: Federation, upstream: Upstream) -> Iterator[Credential]:
    """Return a site that is admitted; after the test the gateway must still serve it."""
    credential = federation.credential("st-mary")
    upstream.paths.clear()
    yield credential
    with federation.connect(credential) as connection:
        connection.send(post("/v1/fleet/pull-messages", credential, b"still there"))
        assert connection.answer()[0] == 200
