"""`wardround client check`, against a real TLS server on loopback."""

import csv
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from client.service.check import check_site
from shared.findings import Finding
from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request
from shared.pki.certificates import new_key, pem_of, save_key, server_context
from shared.wire.address import join_address
from simulate.federation.processes import free_ports
from tests.proxy import Proxy


class Coordinator:
    """A federation with a listener that asks for sites' certificates."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self.authority = Authority.create(folder / "ca", "fed", host)
        key = new_key()
        (folder / "tls").mkdir()
        save_key(folder / "tls" / "server.key", key)
        certificate = self.authority.sign_server(key.public_key(), host)
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
    def listening(self, ahead: float = 0.0, host: str = "127.0.0.1") -> Iterator[str]:
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

        class Server(HTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        with Server((host, 0), Handler) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_: None  # type: ignore[method-assign]
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield join_address(host, server.server_port)
            finally:
                server.shutdown()
                thread.join()


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Coordinator:
    return Coordinator(tmp_path_factory.mktemp("coordinator"))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
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
    findings = list(check_site(coordinator.admit(tmp_path / "site"), "fed.example.org:9443"))
    proxy = next(finding for finding in findings if finding.what == "proxy")
    assert proxy.detail.startswith("127.0.0.1:9 ")
    assert "secret" not in str(findings)
    assert "proxy" in {finding.what for finding in findings if finding.state == "failure"}


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Coordinator:
    """A coordinator that only a proxy knows the way to."""
    return Coordinator(tmp_path_factory.mktemp("far"), "fed.example.org")


def through(
    far: Coordinator, folder: Path, monkeypatch: pytest.MonkeyPatch, login: str = "", **proxy: object
) -> dict[str, Finding]:
    with far.listening() as address, Proxy(address, **proxy) as running:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{login}{running.address}")
        findings = found(far.admit(folder), "fed.example.org:9443")
        assert set(running.asked) == {"fed.example.org:9443"}
    return findings


def test_a_way_through_a_proxy_with_a_password(
    far: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = through(far, tmp_path / "site", monkeypatch, "it:secret@", user="it:secret")
    assert [findings[what].state for what in ("proxy", "TLS", "clock")] == ["ok"] * 3


REFUSALS = {
    "refuses the name and password of HTTPS_PROXY (407)": ("it:wrong@", {"user": "it:secret"}),
    "wants a name and a password (407)": ("", {"user": "it:secret"}),
    "refuses the way (403": ("", {"refusal": 403}),
    "refuses the way (502": ("", {"refusal": 502}),
}


@pytest.mark.parametrize("words", REFUSALS)
def test_a_proxy_that_does_not_let_this_site_pass(
    far: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    login, proxy = REFUSALS[words]
    finding = through(far, tmp_path / "site", monkeypatch, login, **proxy)["proxy"]
    assert finding.state == "failure"
    assert words in finding.detail
    assert "wrong" not in finding.detail


def test_a_proxy_that_is_not_there(far: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    finding = found(far.admit(tmp_path / "site"), "fed.example.org:9443")["proxy"]
    assert finding.state == "failure"
    assert f"the proxy 127.0.0.1:{port} can't be reached" in finding.detail


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://it:secret@", "http://[::1:9"])
def test_what_is_no_http_proxy(
    far: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    finding = found(far.admit(tmp_path / "site"), "fed.example.org:9443")["proxy"]
    assert finding.state == "failure"
    assert "HTTPS_PROXY is not the address of an HTTP proxy" in finding.detail
    assert "secret" not in finding.detail


def test_what_is_on_this_machine_leaves_the_proxy_aside(
    coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with coordinator.listening() as address:
        assert found(coordinator.admit(tmp_path / "site"), address)["TLS"].state == "ok"


def test_a_coordinator_that_is_called_by_another_name(far: Coordinator, tmp_path: Path) -> None:
    with far.listening() as address:
        finding = found(far.admit(tmp_path / "site"), address)["TLS"]
    assert finding.state == "failure"
    assert "is for another name" in finding.detail


def test_a_coordinator_at_an_ipv6_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = Coordinator(tmp_path, "::1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with coordinator.listening(host="::1") as address:
        site = coordinator.admit(tmp_path / "site")
        (site / "site.toml").write_text(f'[site]\nname = "st-mary"\ncoordinator = "{address}"\n')
        findings = found(site)
    assert [findings[what].state for what in ("site.toml", "name", "TLS", "clock")] == ["ok"] * 4


@pytest.mark.parametrize("address", ["::1", "fed.example.org:port", "fed:99999", "https://fed:9443", "[::1"])
def test_what_is_no_address(coordinator: Coordinator, tmp_path: Path, address: str) -> None:
    site = coordinator.admit(tmp_path / "site")
    assert found(site, address)["coordinator"].state == "failure"
    (site / "site.toml").write_text(f'[site]\nname = "st-mary"\ncoordinator = "{address}"\n')
    finding = found(site)["site.toml"]
    assert finding.state == "failure"
    assert "[site] coordinator" in finding.detail


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "none", tmp_path / "file"):
        (finding,) = check_site(folder)
        assert (finding.state, finding.what) == ("failure", "folder")
        assert str(folder) in finding.detail


def test_keys_of_another_site(coordinator: Coordinator, tmp_path: Path) -> None:
    site = coordinator.admit(tmp_path / "site")
    (site / "site.toml").write_text('[site]\nname = "st-luke"\n')
    finding = found(site, offline=True)["certificate"]
    assert finding.state == "failure"
    assert "is for the site 'st-mary', not 'st-luke'" in finding.detail


def test_only_the_patients_of_this_site_are_counted(
    coordinator: Coordinator, tmp_path: Path, tiny_data: Path
) -> None:
    site = coordinator.admit(tmp_path / "site")
    dataset = f'[site]\nname = "st-mary"\n[datasets.discs]\nmanifest = "{tiny_data}"\n'
    (site / "site.toml").write_text(dataset)
    everyone = found(site, offline=True)["data discs"].detail
    (site / "site.toml").write_text(dataset + 'site = "beta"\n')
    own = found(site, offline=True)["data discs"].detail
    assert everyone.startswith("24 images of 12 patients")
    assert own.startswith("6 images of 3 patients of site 'beta'")
    (site / "site.toml").write_text(dataset + 'site = "nobody"\n')
    assert "no rows of site 'nobody'" in found(site, offline=True)["data discs"].detail


def test_images_in_columns_of_other_names(coordinator: Coordinator, tmp_path: Path, tiny_data: Path) -> None:
    site, other = coordinator.admit(tmp_path / "site"), tmp_path / "other.csv"
    rows = list(csv.reader(tiny_data.open(newline="")))
    with other.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["site", "patient", "t1", "t2", "label"]]
            + [[r[0], r[1], *[str(tiny_data.parent / r[2])] * 2, r[4]] for r in rows[1:]]
        )
    (site / "site.toml").write_text(f'[site]\nname = "st-mary"\n[datasets.mr]\nmanifest = "{other}"\n')
    assert found(site, offline=True)["data mr"].detail.startswith("24 images of 12 patients")


def test_a_table_without_images(coordinator: Coordinator, tmp_path: Path) -> None:
    site, table = coordinator.admit(tmp_path / "site"), tmp_path / "table.csv"
    table.write_text("patient,split,age,time,event\na,train,60,1.5,1\nb,val,70,2,0\nc,test,50,3,0\n")
    (site / "site.toml").write_text(f'[site]\nname = "st-mary"\n[datasets.mr]\nmanifest = "{table}"\n')
    assert found(site, offline=True)["data mr"].detail.startswith("3 rows of 3 patients")


def test_everything_is_looked_at_even_if_all_is_wrong(coordinator: Coordinator, tmp_path: Path) -> None:
    site = coordinator.admit(tmp_path / "site", days=1)
    (site / "site.toml").write_text('[site]\nname = "st-mary"\n[datasets.lungs]\nmanifest = "none.csv"\n')
    (site / "keys" / "site.key").chmod(0o644)
    findings = found(site, offline=True)
    assert "other users may use this key" in findings["key"].detail
    assert findings["data lungs"].state == "failure"
    assert findings["coordinator"].state == "warning"
    assert {"disk", "memory", "device", "audit log"} <= set(findings)
    with (site / "site.toml").open("a") as file:
        file.write("[notify]\n[notify]\n")
    findings = found(site)
    assert "write the keys under the one that is there" in str(findings["site.toml"].remedy)
    assert findings["coordinator"].state == "warning"  # its address is in the file that can't be read
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


def test_a_compiler_is_looked_for_where_jobs_may_be_compiled(
    coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = coordinator.admit(tmp_path / "site")
    monkeypatch.setenv("CXX", "/no/such/compiler")
    assert "compiler" not in found(site, offline=True)
    with (site / "site.toml").open("a") as file:
        file.write("[policy]\ncompile = true\n")
    finding = found(site, offline=True)["compiler"]
    assert finding.state == "failure"
    assert "apt install g++ python3-dev" in (finding.remedy or "")
