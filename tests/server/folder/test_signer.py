"""The authority's key in a process of its own."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from server.folder.coordinator import ServerTable, found
from server.folder.passphrase import PASSPHRASE_FILE
from server.folder.signer import Signer, SignerError
from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request
from shared.pki.certificates import (
    CredentialError,
    check_issued,
    load_certificate,
    new_key,
    public_key_of,
    utc_now,
)
from simulate.federation.processes import LocalFederation, free_ports

CURIOUS = """
import ctypes, getpass, os, sys
from pathlib import Path
from server.folder.signer import Signer

os.setgroups([])
os.setgid(65534)
os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE, as after an exec
with Signer.start(Path(sys.argv[1])) as signer:
    for file in ("mem", "environ"):
        try:
            print(len(Path(f"/proc/{signer._pid}/{file}").open("rb").read(1)))
        except OSError as error:
            print(type(error).__name__)
"""
PROJECT = Path(__file__).parents[3]
PASSPHRASE = b"a rather long passphrase"
SERVICE = """
import os, signal, sys
from pathlib import Path
from server.folder.signer import Signer

with Signer.start(Path(sys.argv[1])) as signer:
    print(signer._pid, os.environ.get("WARDROUND_CA_PASSPHRASE_FILE"), repr(sys.stdin.read()), flush=True)
    signal.pause()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a coordinator's folder, as far as the signer needs it, whose passphrase is in a file."""
    Authority.create(tmp_path / "fed" / "ca", "lung-eu", "fed.example.org", PASSPHRASE)
    (tmp_path / "passphrase").write_bytes(PASSPHRASE + b"\n")
    monkeypatch.setenv(PASSPHRASE_FILE, str(tmp_path / "passphrase"))
    return tmp_path / "fed"


@pytest.fixture
def signer(folder: Path) -> Iterator[Signer]:
    with Signer.start(folder) as started:
        yield started
    started.wait()


def test_it_signs_what_the_authority_would(signer: Signer, folder: Path) -> None:
    key = new_key()
    certificate = signer.sign_site(certificate_request(key, "st-mary"), "st-mary")
    check_issued(certificate, Authority.open(folder / "ca", PASSPHRASE).certificate, utc_now())
    assert public_key_of(certificate) == key.public_key()
    listener = signer.sign_server(key.public_key(), "fed.example.org")
    check_issued(listener, signer.certificate, utc_now())
    assert PASSPHRASE_FILE not in os.environ  # what is started from here is not told


def test_it_signs_for_no_longer_and_for_nobody_else(signer: Signer) -> None:
    request = certificate_request(new_key(), "st-mary")
    assert signer.sign_site(request, "st-mary", days=9999).not_valid_after_utc < utc_now() + timedelta(
        days=91
    )
    with pytest.raises(CredentialError):
        signer.sign_site(request, "st-luke")
    with pytest.raises(CredentialError):
        signer.sign_site(b"rubbish", "st-mary")
    with pytest.raises(CredentialError):
        signer.sign_server(new_key().public_key(), "not a host")
    assert signer.sign_site(request, "st-mary")  # and goes on


def test_a_wrong_passphrase_is_an_error_of_the_one_who_starts_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "passphrase").write_text("another long passphrase\n")
    with pytest.raises(CredentialError, match=r"ca\.key.*wrong passphrase"):
        Signer.start(folder)
    monkeypatch.setenv(PASSPHRASE_FILE, str(folder / "missing"))
    with pytest.raises(CredentialError, match="missing"):
        Signer.start(folder)


def test_its_end_is_told(folder: Path) -> None:
    with Signer.start(folder) as signer:
        os.kill(signer._pid, signal.SIGKILL)
        signer.wait()
        with pytest.raises(SignerError):
            signer.sign_site(certificate_request(new_key(), "st-mary"), "st-mary")


def test_the_passphrase_from_standard_input_is_read_once_and_the_signer_ends_with_its_service(
    folder: Path,
) -> None:
    with (
        (folder.parent / "passphrase").open("rb") as passphrase,
        subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(folder)],
            stdin=passphrase,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(PROJECT), PASSPHRASE_FILE: "-"},
        ) as service,
    ):
        assert service.stdout is not None
        pid, told, left = service.stdout.readline().split()
        assert (told, left) == ("None", "''")
        signer = psutil.Process(int(pid))
        service.kill()
        signer.wait()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become a user who is not")
def test_its_memory_is_closed_to_its_own_user() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        Authority.create(folder / "ca", "lung-eu", "fed.example.org", PASSPHRASE)
        (folder / "passphrase").write_bytes(PASSPHRASE)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)
        ended = subprocess.run(
            [sys.executable, "-c", CURIOUS, scratch],
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": str(PROJECT), PASSPHRASE_FILE: str(folder / "passphrase")},
        )
    assert ended.stdout.splitlines() == ["PermissionError"] * 2, ended.stderr


@pytest.mark.slow
def test_the_service_works_with_a_passphrase_and_ends_with_its_signer(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    sites_port, people_port = free_ports(2)
    table = ServerTable(name="local", host="127.0.0.1", sites_port=sites_port, people_port=people_port)
    found(local / "coordinator", table, PASSPHRASE)
    with LocalFederation(local) as federation:
        site = federation.enrol("alpha", {})
        certificate = load_certificate(site / "keys" / "site.crt")
        check_issued(certificate, load_certificate(local / "coordinator" / "ca" / "ca.crt"), utc_now())
        service = federation.processes["coordinator"]
        (signer,) = [
            child
            for child in psutil.Process(service.pid).children()
            if "flower-superlink" not in child.cmdline()
        ]
        signer.kill()
        assert service.wait() == 2
        assert "holds the authority's key has ended" in federation.log("coordinator")
