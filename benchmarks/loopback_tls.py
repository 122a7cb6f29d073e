"""A port of loopback, with TLS, in front of the SuperLink's Unix socket, for Flower's own SuperNodes."""

import asyncio
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from shared.wire.unix_socket import socket_address

LOOPBACK = "127.0.0.1"
LIFETIME = timedelta(days=3650)  # a new one is made at every start


@dataclass(frozen=True, slots=True)
class LoopbackTls:
    """What a server on loopback and its clients need.

    Attributes:
        certificate: File of the self-signed certificate, which is its own authority.
        key: File of the private key, readable by its owner only.
    """

    certificate: Path
    key: Path

    @classmethod
    def create(cls, folder: Path) -> "LoopbackTls":
        """Write a new key and certificate for 127.0.0.1 into a folder, over older ones."""
        key = ec.generate_private_key(ec.SECP384R1())
        pem = _self_signed(key).public_bytes(Encoding.PEM)
        made = cls(folder / "loopback.crt", folder / "loopback.key")
        made.certificate.write_bytes(pem)
        made.key.unlink(missing_ok=True)
        descriptor = os.open(made.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wardround superlink on loopback")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, SHA384())
    )


@contextmanager
def tls_door(folder: Path, socket: Path) -> Iterator[tuple[int, Path]]:
    """Pass on to a Unix socket, from a thread, what comes to a port; gives the port and its certificate."""
    tls = LoopbackTls.create(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while chunk := await source.read(2**16):
                target.write(chunk)
                await target.drain()
        except OSError:
            return
        finally:
            target.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(socket_address(socket))
        await asyncio.gather(copy(reader, back), copy(there, writer))

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(pass_on, LOOPBACK, 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], tls.certificate
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
