"""A real archive for tests: Orthanc with its DICOMweb plug-in on this machine, with a password and TLS.

TLS ends in this process, as it does at a hospital's proxy: Debian's Orthanc 1.10.1 with OpenSSL 3 crashes at
its first handshake.
"""

import json
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from shared.pki.certificates import new_key
from simulate.federation.processes import free_ports

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
TITLE = "ORTHANC"
USER, PASSWORD = "wardround", "in a test"
_STARTED = "Orthanc has started"


@dataclass(frozen=True)
class Orthanc:
    """An archive that runs.

    Attributes:
        root: URL of its own interface.
        authority: The certificate by which its own is checked.
        dicom_port: Where it speaks DIMSE, with `WARDROUND` alone.
        receive_port: Where it sends what `WARDROUND` lets it move (C-MOVE).
    """

    root: str
    authority: Path
    dicom_port: int
    receive_port: int

    @property
    def dicomweb(self) -> str:
        """URL of DICOMweb."""
        return f"{self.root}/dicom-web"

    def ask(self, path: str, content: bytes | None = None) -> httpx.Response:
        """Ask Orthanc's own interface: GET, or POST where there is a content."""
        context = ssl.create_default_context(cafile=self.authority)
        with httpx.Client(verify=context, auth=(USER, PASSWORD), trust_env=False, timeout=60) as client:
            answer = client.request(
                "GET" if content is None else "POST", f"{self.root}{path}", content=content
            )
        return answer.raise_for_status()

    def write_settings(self, folder: Path) -> Path:
        """Write the `pacs.toml` by which it is reached, and the file of its password beside it; return it."""
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o600)
        (folder / "pacs.toml").write_text(
            f'[store]\nurl = "{self.dicomweb}/"\nuser = "{USER}"\npassword = "file:password"\n'
            f'authority = "{self.authority}"\n'
        )
        return folder / "pacs.toml"

    def put(self, file: Path) -> None:
        """Store a file."""
        self.ask("/instances", file.read_bytes())

    def instances(self, modality: str) -> list[bytes]:
        """Return the files of all instances of a modality."""
        found = []
        for series in self.ask("/series?expand").json():
            if series["MainDicomTags"].get("Modality") == modality:
                found += [self.ask(f"/instances/{name}/file").content for name in series["Instances"]]
        return found


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Start an archive in an empty folder, and stop it; skips the test where Orthanc is not installed."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None or not PLUGIN.is_file():
        pytest.skip("needs Orthanc, of Debian's packages orthanc and orthanc-dicomweb")
    port, dicom_port, receive_port = free_ports(3)
    authority = write_certificate(folder)
    (folder / "orthanc.json").write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "storage"),
                "HttpPort": port,
                "DicomPort": dicom_port,
                "DicomAet": TITLE,
                "DicomCheckCalledAet": True,
                "DicomModalities": {"us": ["WARDROUND", "127.0.0.1", receive_port]},
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": True,
                "RegisteredUsers": {USER: PASSWORD},
                "Plugins": [str(PLUGIN)],
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            }
        )
    )
    process = subprocess.Popen(
        [program, folder / "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if _STARTED in line:
                break
        else:
            pytest.fail("Orthanc did not start:\n" + "".join(said))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        with _tls(folder / "both.pem", port) as outside:
            yield Orthanc(f"https://127.0.0.1:{outside}", authority, dicom_port, receive_port)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _tls(certificate: Path, port: int) -> Iterator[int]:
    """Take connections with TLS, and hand them on without; gives the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as inside:
                outside = context.wrap_socket(self.request, server_side=True)
                back = threading.Thread(target=_pump, args=(inside, outside))
                back.start()
                _pump(outside, inside)
                back.join()
                outside.close()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(2**16):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def write_certificate(folder: Path) -> Path:
    """Write a certificate of this machine: with its key as `both.pem`, alone as `authority.pem`."""
    key, name = new_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "both.pem").write_bytes(pem + private)
    (folder / "authority.pem").write_bytes(pem)
    return folder / "authority.pem"
