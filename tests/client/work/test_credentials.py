"""How a site shows who it is: by the certificate that it has now."""

from client.settings.site import SiteConfig, SiteTable
from client.work.secure_aggregation import Credentials
from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request
from shared.pki.certificates import new_key, openssh, pem_of, public_key_of, save_key


def test_a_certificate_that_is_renewed_under_a_running_worker_is_taken_up(tmp_path) -> None:
    authority = Authority.create(tmp_path / "ca", "lung-eu", "fed.example.org")
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "ca.crt").write_bytes(pem_of(authority.certificate))

    def renew() -> None:
        key = new_key()
        save_key(keys / "site.key", key)
        certificate = authority.sign_site(certificate_request(key, "alpha"), "alpha")
        (keys / "site.crt").write_bytes(pem_of(certificate))

    renew()
    credentials = Credentials.load(SiteConfig(site=SiteTable(name="alpha", coordinator=None)), keys)
    assert credentials.newest().certificate == credentials.identity.certificate
    renew()
    newest = credentials.newest()
    assert newest.certificate != credentials.identity.certificate
    assert openssh(newest.key.public_key()) == openssh(public_key_of(newest.certificate))
