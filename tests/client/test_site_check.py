"""`wardround client check`, against a real TLS server on loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from client.check import check_site
from shared.authority import Authority
from shared.csr import certificate_request
from shared.findings import Finding
from shared.pki import new_key, pem_of, save_key, server_context


class Coordinator:
    """A federation with a listener that asks for sites' certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.create(folder / "ca", "fed", "127.0.0.1")
        key = new_key()
        (folder / "tls").mkdir()
        save_key(folder / "tls" / "server.key", key)
        certificate = self.authority.sign_server(key.public_key(), "127.0.0.1")
        (folder / "tls" / "server.crt").write_bytes(pem_of(certificate))

    def admit(self, folder: Path, days: int = 90) -> Path:
        """Make a site's folder."""
        (folder / "keys").mkdir(parents=True)
        key = new_key()
        save_key(folder / "keys" / "site.key", key)
        certificate = self.authority.sign_site(certificate_request(key, "st-mary"), "st-mary", days)
        (folder / "keys" / "site.crt").write_bytes(pem_of(certificate))
        (folder / "keys" / "ca.crt").write_bytes(pem_of(self.authority.certificate))
        (folder / "site.toml").write_text('[site]\nname = "st-mary"\n')
        return folder

    @contextmanager
    def listening(self, ahead: float = 0.0) -> Iterator[str]:
        """Serve on loopback, with a clock that is ahead by some seconds; give the address."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response_only(404)
                self.send_header(
                    "date", format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
                )
                self.send_header("content-length", "0")
                self.end_headers()

        context = server_context(self.folder, sites=True)
        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_: None  # type: ignore[method-assign]
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Coordinator:
    return Coordinator(tmp_path_factory.mktemp("coordinator"))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def found(folder: Path, address: str | None = None, *, offline: bool = False) -> dict[str, Finding]:
    return {finding.what: finding for finding in check_site(folder, address, offline=offline)}


def test_all_is_well(coordinator: Coordinator, tmp_path: Path) -> None:
    site = coordinator.admit(tmp_path / "site")
    with coordinator.listening() as address:
        findings = found(site, address)
    states = {
        what: findings[what].state for what in ("site.toml", "key", "certificate", "name", "TLS", "clock")
    }
    assert set(states.values()) == {"ok"}
    assert "89 days left" in findings["certificate"].detail
    assert findings["data"].state == "failure"  # none is offered


@pytest.mark.parametrize(
    ("ahead", "state"), [(0, "ok"), (-4, "warning"), (60, "failure"), (-3600, "failure")]
)
def test_a_clock_that_is_off(coordinator: Coordinator, tmp_path: Path, ahead: float, state: str) -> None:
    site = coordinator.admit(tmp_path / "site")
    with coordinator.listening(ahead) as address:
        assert found(site, address)["clock"].state == state


def test_another_authority(coordinator: Coordinator, tmp_path: Path) -> None:
    stranger = Coordinator(tmp_path)
    site = coordinator.admit(tmp_path / "site")
    with stranger.listening() as address:
        finding = found(site, address)["TLS"]
    assert finding.state == "failure"
    assert "another authority" in finding.detail


def test_a_coordinator_that_refuses_this_site(coordinator: Coordinator, tmp_path: Path) -> None:
    """The site's certificate is of another federation; the coordinator is the right one."""
    site = Coordinator(tmp_path).admit(tmp_path / "site")
    (site / "keys" / "ca.crt").write_bytes(pem_of(coordinator.authority.certificate))
    with coordinator.listening() as address:
        findings = found(site, address)
    assert "refuses this site's certificate" in findings["TLS"].detail
    assert "not signed by this federation's authority" in findings["certificate"].detail


def test_nobody_listens(coordinator: Coordinator, tmp_path: Path) -> None:
    site = coordinator.admit(tmp_path / "site")
    with coordinator.listening() as address:
        pass
    finding = found(site, address)["TLS"]
    assert "can't be reached" in finding.detail
    assert "firewall" in str(finding.remedy)


def test_a_proxy_is_shown_without_its_password(
    coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    findings = list(check_site(coordinator.admit(tmp_path / "site"), "fed.example.org:9443"))
    (proxy,) = [finding for finding in findings if finding.what == "proxy"]
    assert proxy.detail.startswith("127.0.0.1:9 ")
    assert "secret" not in str(findings)
    assert "TLS" in {finding.what for finding in findings if finding.state == "failure"}


def test_everything_is_looked_at_even_if_all_is_wrong(coordinator: Coordinator, tmp_path: Path) -> None:
    site = coordinator.admit(tmp_path / "site", days=1)
    (site / "site.toml").write_text('[site]\nname = "st-mary"\n[datasets.lungs]\nmanifest = "none.csv"\n')
    (site / "keys" / "site.key").chmod(0o644)
    findings = found(site, offline=True)
    assert "other users may use this key" in findings["key"].detail
    assert findings["data lungs"].state == "failure"
    assert findings["coordinator"].state == "warning"
    assert {"disk", "memory", "device", "audit log"} <= set(findings)
    (site / "site.toml").unlink()
    assert found(site, offline=True)["site.toml"].state == "failure"


def test_few_days_left(coordinator: Coordinator, tmp_path: Path) -> None:
    site = coordinator.admit(tmp_path / "site")
    old = replace(coordinator.authority, clock=lambda: datetime.now(UTC) - timedelta(days=80))
    key = new_key()
    save_key(site / "keys" / "site.key", key)
    certificate = old.sign_site(certificate_request(key, "st-mary"), "st-mary")
    (site / "keys" / "site.crt").write_bytes(pem_of(certificate))
    finding = found(site, offline=True)["certificate"]
    assert (finding.state, finding.remedy) == ("warning", "wardround client renew")


@pytest.mark.parametrize(
    ("policy", "pinned", "state"),
    [
        ("", 0, None),
        ('secure_aggregation = "required"', 0, "failure"),
        ('secure_aggregation = "required"', 1, "failure"),
        ('secure_aggregation = "required"', 2, "ok"),
        ('secure_aggregation = "required"\nmin_sites_in_sum = 4', 2, "failure"),
        ('secure_aggregation = "required"\nmin_sites_in_sum = 4', 3, "ok"),
    ],
)
def test_secure_aggregation_is_required_of_sites_that_are_pinned(
    coordinator: Coordinator, tmp_path: Path, policy: str, pinned: int, state: str | None
) -> None:
    site = coordinator.admit(tmp_path / "site")
    peers = "".join(f'site-{number} = "SHA256:{"A" * 43}"\n' for number in range(pinned))
    with (site / "site.toml").open("a") as file:
        file.write(f'[policy]\n{policy}\n[peers]\nst-mary = "SHA256:{"B" * 43}"\n{peers}')
    finding = found(site, offline=True).get("peers")
    assert (finding and finding.state) == state
    assert state != "failure" or "docs/secure-aggregation.md" in finding.remedy
