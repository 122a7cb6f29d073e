"""Keys, requests, certificates, join strings, and real TLS handshakes with them."""

import socket
import ssl
import stat
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from shared.pki import authority as authority_module
from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request, parse_request
from shared.pki.certificates import (
    CredentialError,
    check_issued,
    client_context,
    fingerprint,
    key_fingerprint,
    load_key,
    needs_renewal,
    new_key,
    openssh,
    pem_of,
    pinned_context,
    public_key_of,
    save_key,
    server_context,
)
from shared.pki.join_string import PREFIX, Join, parse_join
from shared.wire.address import join_address

PASSPHRASE = b"a rather long passphrase"
NOW = datetime.now(UTC)
BANK = x509.SubjectAlternativeName([x509.DNSName("bank.example")])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("fed") / "ca", "lung-eu", "fed.example.org")


def csr(key: object, *names: str, extensions: tuple[x509.ExtensionType, ...] = ()) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)


# Keys


def test_a_key_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    key = new_key()
    save_key(tmp_path / "site.key", key)
    assert stat.S_IMODE((tmp_path / "site.key").stat().st_mode) == 0o600
    assert load_key(tmp_path / "site.key").private_numbers() == key.private_numbers()


def test_an_encrypted_key_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = tmp_path / "ca.key"
    save_key(path, new_key(), PASSPHRASE)
    load_key(path, PASSPHRASE)
    with pytest.raises(CredentialError, match="does not open"):
        load_key(path, b"another passphrase")
    with pytest.raises(CredentialError, match="there is no passphrase"):
        load_key(path)
    with pytest.raises(CredentialError, match="shorter than 14"):
        save_key(path, new_key(), b"short")


def test_a_key_that_openssl_encrypted_with_scrypt_opens(tmp_path: Path) -> None:
    save_key(tmp_path / "plain", new_key())
    command = [
        "openssl",
        "pkcs8",
        "-topk8",
        "-scrypt",
        "-in",
        "plain",
        "-out",
        "strong",
        "-passout",
        "pass:secret",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "strong").chmod(0o600)
    load_key(tmp_path / "strong", b"secret")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    save_key(tmp_path / "site.key", new_key())
    (tmp_path / "site.key").chmod(mode)
    with pytest.raises(CredentialError, match="chmod 600"):
        load_key(tmp_path / "site.key")


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)],
    ids=["P-256", "RSA"],
)
def test_weak_keys_are_refused(tmp_path: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key").write_bytes(pem)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(CredentialError, match="not an EC P-384 key"):
        load_key(tmp_path / "key")
    with pytest.raises(CredentialError, match="not EC P-384"):
        parse_request(csr(key, "st-mary"), "st-mary")


def test_the_node_key_is_the_key_of_the_certificate(authority: Authority) -> None:
    key = new_key()
    certificate = authority.sign_site(certificate_request(key, "st-mary"), "st-mary")
    assert openssh(public_key_of(certificate)) == openssh(key.public_key())
    assert openssh(key.public_key()).startswith("ecdsa-sha2-nistp384 ")
    assert serialization.load_ssh_public_key(openssh(key.public_key()).encode()) == key.public_key()


def test_the_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    key = new_key().public_key()
    (tmp_path / "key.pub").write_text(openssh(key), encoding="ascii")
    try:
        shown = subprocess.run(
            ["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        pytest.skip("needs ssh-keygen: apt-get install openssh-client")
    assert key_fingerprint(key) in shown.stdout


# Requests and certificates


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (csr(new_key(), "st-paul"), "not for the site"),
        (csr(new_key()), "not for the site"),
        (csr(new_key(), "st-mary", "st-paul"), "not for the site"),
        (
            csr(
                new_key(),
                "st-mary",
                extensions=(x509.SubjectAlternativeName([x509.DNSName("bank.example")]),),
            ),
            "asks for more",
        ),
        (csr(new_key(), "st-mary", extensions=(x509.BasicConstraints(True, None),)), "asks for more"),
        (b"", "not a certificate request"),
        (
            b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
            "not a certificate",
        ),
        (b"x" * 9000, "too long"),
    ],
    ids=["other name", "no name", "two names", "SAN", "CA flag", "empty", "garbage", "long"],
)
def test_a_request_that_asks_for_more_is_refused(authority: Authority, request_: bytes, problem: str) -> None:
    with pytest.raises(CredentialError, match=problem):
        authority.sign_site(request_, "st-mary")


def test_a_request_for_a_key_that_the_asker_does_not_hold_is_refused() -> None:
    pem = csr(new_key(), "st-mary")
    request = x509.load_pem_x509_csr(pem)
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    spki = request.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    other = new_key().public_key()
    swapped = bytes(der).replace(
        spki, other.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    forged = x509.load_der_x509_csr(swapped).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(CredentialError, match="not signed by its own key"):
        parse_request(forged, "st-mary")


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_parser(content: bytes) -> None:
    with pytest.raises(CredentialError):
        parse_request(content, "st-mary")


def test_what_a_sites_certificate_says(authority: Authority) -> None:
    certificate = authority.sign_site(certificate_request(new_key(), "st-mary"), "st-mary")
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert basic.critical
    assert not basic.value.ca
    assert life == timedelta(days=90)
    check_issued(certificate, authority.certificate, datetime.now(UTC))


def test_no_certificate_outlives_the_authority(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca", "lung-eu", "fed.example.org")
    certificate = authority.sign_server(new_key().public_key(), "fed.example.org", days=99999)
    assert certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_renewal_is_due_when_a_third_of_the_life_is_left(authority: Authority) -> None:
    certificate = authority.sign_site(certificate_request(new_key(), "st-mary"), "st-mary", days=90)
    start = certificate.not_valid_before_utc
    assert not needs_renewal(certificate, start + timedelta(days=59))
    assert needs_renewal(certificate, start + timedelta(days=61))
    assert needs_renewal(certificate, start + timedelta(days=100))


def test_the_authority_opens_again(tmp_path: Path) -> None:
    made = Authority.create(tmp_path / "ca", "lung-eu", "10.0.0.1", PASSPHRASE)
    opened = Authority.open(tmp_path / "ca", PASSPHRASE)
    assert opened.name == "lung-eu"
    assert fingerprint(opened.certificate) == fingerprint(made.certificate)
    with pytest.raises(CredentialError, match="there is an authority already"):
        Authority.create(tmp_path / "ca", "lung-eu", "10.0.0.1")
    save_key(tmp_path / "ca" / "ca.key", new_key())
    with pytest.raises(CredentialError, match=r"does not belong to ca\.crt"):
        Authority.open(tmp_path / "ca")


@pytest.mark.parametrize("host", ["", "a b", "-x.org", "Fed.org", "x.org:1", 'x"', "[::1]"])
def test_hosts_that_are_none(tmp_path: Path, host: str) -> None:
    with pytest.raises(CredentialError, match="neither a DNS name"):
        Authority.create(tmp_path / "ca", "lung-eu", host)


def test_the_revocation_list_is_signed_and_holds_the_serials(authority: Authority) -> None:
    authority.write_list([(4711, NOW)])
    listed = x509.load_pem_x509_crl((authority.folder / "crl.pem").read_bytes())
    assert listed.is_signature_valid(authority.certificate.public_key())
    assert [entry.serial_number for entry in listed] == [4711]


# Handshakes


class Handshake(NamedTuple):
    server: Exception | None
    client: Exception | None


def shake(server: ssl.SSLContext, client: ssl.SSLContext, host: str = "fed.example.org") -> Handshake:
    """Connect two contexts over a socket and say how it ended on both sides."""
    here, there = socket.socketpair()
    outcome: list[Exception | None] = [None]

    def serve() -> None:
        try:
            with server.wrap_socket(there, server_side=True) as channel:
                channel.sendall(b"hello")
        except OSError as error:
            outcome[0] = error
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    failure: Exception | None = None
    try:
        with client.wrap_socket(here, server_hostname=host) as channel:
            channel.recv(5)  # in TLS 1.3 a refused client hears of it when it reads
    except OSError as error:
        failure = error
        here.close()
    thread.join()
    return Handshake(outcome[0], failure)


def site_folder(folder: Path, authority: Authority, certificate: x509.Certificate, key: object) -> Path:
    folder.mkdir(parents=True)
    save_key(folder / "site.key", key)
    (folder / "site.crt").write_bytes(pem_of(certificate))
    (folder / "ca.crt").write_bytes(pem_of(authority.certificate))
    return folder


def enrolled(folder: Path, authority: Authority, **options: int) -> Path:
    key = new_key()
    certificate = authority.sign_site(certificate_request(key, "st.mary"), "st.mary", **options)
    return site_folder(folder, authority, certificate, key)


def coordinator(
    folder: Path, authority: Authority, certificate: x509.Certificate | None = None, key=None
) -> Path:
    key = key or new_key()
    certificate = certificate or authority.sign_server(key.public_key(), "fed.example.org")
    for name in ("tls", "ca"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    save_key(folder / "tls" / "server.key", key)
    (folder / "tls" / "server.crt").write_bytes(pem_of(certificate))
    (folder / "ca" / "ca.crt").write_bytes(pem_of(authority.certificate))
    return folder


def test_site_and_coordinator_shake_hands(tmp_path: Path, authority: Authority) -> None:
    server = server_context(coordinator(tmp_path / "c", authority), sites=True)
    assert shake(server, client_context(enrolled(tmp_path / "s", authority))) == (None, None)


@pytest.mark.parametrize("host", ["10.0.0.1", "::1", "localhost"])
def test_hosts_of_every_kind(tmp_path: Path, host: str) -> None:
    own = Authority.create(tmp_path / "ca", "lung-eu", host)
    key = new_key()
    folder = coordinator(tmp_path / "c", own, own.sign_server(key.public_key(), host), key)
    site = client_context(enrolled(tmp_path / "s", own))
    assert shake(server_context(folder, sites=True), site, host) == (None, None)


def test_without_a_certificate_the_sites_listener_refuses(tmp_path: Path, authority: Authority) -> None:
    folder = coordinator(tmp_path / "c", authority)
    bare = pinned_context(authority.certificate)
    assert shake(server_context(folder, sites=False), bare) == (None, None)
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in str(shake(server_context(folder, sites=True), bare).server)


def test_tls_1_2_is_refused(tmp_path: Path, authority: Authority) -> None:
    old = pinned_context(authority.certificate)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    server = server_context(coordinator(tmp_path / "c", authority), sites=False)
    assert shake(server, old).server is not None


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("self-signed", "self-signed certificate"),
        ("another federation", "unable to get local issuer certificate"),
        ("expired", "certificate has expired"),
        ("for a server", "unsuitable certificate purpose"),
        ("from a site", "invalid CA certificate"),
    ],
)
def test_sites_that_are_refused_by_tls(tmp_path: Path, authority: Authority, kind: str, reason: str) -> None:
    key = new_key()
    request = certificate_request(key, "st-mary")
    if kind in {"self-signed", "another federation"}:
        other = Authority.create(tmp_path / "other", "lung-eu", "fed.example.org")
        certificate = other.certificate if kind == "self-signed" else other.sign_site(request, "st-mary")
        key = other.key if kind == "self-signed" else key
    elif kind == "expired":
        past = Authority(
            authority.folder, authority.key, authority.certificate, lambda: NOW - timedelta(days=2)
        )
        certificate = past.sign_site(request, "st-mary", days=1)
    elif kind == "for a server":
        certificate = authority.sign_server(key.public_key(), "fed.example.org")
    else:
        # A site uses its own certificate as if it were an authority.
        site_key = new_key()
        site = authority.sign_site(certificate_request(site_key, "st-mary"), "st-mary")
        certificate = Authority(tmp_path, site_key, site).sign_site(request, "st-mary")
    folder = site_folder(tmp_path / "s", authority, certificate, key)
    if kind == "from a site":
        (folder / "site.crt").write_bytes(pem_of(certificate) + pem_of(site))
    server = server_context(coordinator(tmp_path / "c", authority), sites=True)
    assert reason in str(shake(server, client_context(folder)).server)


def test_a_site_can_not_pose_as_the_coordinator(tmp_path: Path, authority: Authority) -> None:
    key = new_key()
    site = authority.sign_site(certificate_request(key, "fed.example.org"), "fed.example.org")
    server = server_context(coordinator(tmp_path / "c", authority, site, key), sites=False)
    ended = shake(server, pinned_context(authority.certificate))
    assert isinstance(ended.client, ssl.SSLCertVerificationError)


def test_a_stolen_authority_can_not_sign_for_other_hosts(tmp_path: Path, authority: Authority) -> None:
    for host in ("bank.example.com", "10.1.1.1"):
        key = new_key()
        forged = authority.sign_server(key.public_key(), host)
        server = server_context(coordinator(tmp_path / host, authority, forged, key), sites=False)
        ended = shake(server, pinned_context(authority.certificate), host)
        assert "permitted subtree violation" in str(ended.client) or "excluded subtree" in str(ended.client)


def test_a_stolen_authority_can_not_sign_for_another_federation(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = authority_module._subject
    monkeypatch.setattr(authority_module, "_subject", lambda _federation, name: subject("heart-us", name))
    folder = enrolled(tmp_path / "s", authority)
    monkeypatch.undo()
    server = server_context(coordinator(tmp_path / "c", authority), sites=True)
    assert "permitted subtree violation" in str(shake(server, client_context(folder)).server)


def test_a_context_says_what_is_missing(tmp_path: Path, authority: Authority) -> None:
    folder = enrolled(tmp_path / "s", authority)
    save_key(folder / "site.key", new_key())
    with pytest.raises(CredentialError, match="does not belong to the key"):
        client_context(folder)
    (folder / "site.crt").unlink()
    with pytest.raises(CredentialError, match=r"site\.crt: can't be read"):
        client_context(folder)


# Join strings

JOIN = Join(
    site="st-mary",
    host="fed.example.org",
    people_port=9444,
    sites_port=9443,
    authority="ab" * 32,
    token="t" * 43,
)


@given(
    st.integers(1, 65535),
    st.text("abc-.", min_size=1, max_size=30),
    st.text("aZ_-9", min_size=20, max_size=60),
)
def test_a_join_string_says_what_was_put_in(port: int, host: str, token: str) -> None:
    join = JOIN.model_copy(update={"people_port": port, "host": host, "token": token})
    assert parse_join(str(join)) == join


def test_a_mail_programs_line_breaks_do_no_harm() -> None:
    text = str(JOIN)
    assert parse_join("  " + "\n".join(text[i : i + 60] for i in range(0, len(text), 60)) + "\r\n") == JOIN


@given(st.data())
def test_a_cut_or_changed_join_string_is_noticed(data: st.DataObject) -> None:
    text = str(JOIN)
    place = data.draw(st.integers(len(PREFIX), len(text) - 1))
    with pytest.raises(CredentialError, match="cut or changed"):
        parse_join(text[:place])
    if place < len(text) - 1:  # the last character holds bits that say nothing
        letter = "A" if text[place] != "A" else "B"
        with pytest.raises(CredentialError, match="cut or changed"):
            parse_join(text[:place] + letter + text[place + 1 :])


def test_the_token_is_not_shown() -> None:
    assert "t" * 20 not in repr(JOIN)
    assert join_address("::1", 9443) == "[::1]:9443"
    with pytest.raises(CredentialError, match="begins with"):
        parse_join("https://example.org")
