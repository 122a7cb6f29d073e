"""A site joins again, or follows its coordinator, and keeps what it has; an authority is renewed."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.applications import Starlette

from client.settings import enrolment
from client.settings.coordinator_address import follow, name_coordinator
from client.settings.site import load_site
from client.settings.template import site_template
from server.folder.authority_changes import rehost, renew_authority, replace_authority
from server.folder.coordinator import (
    FolderError,
    ServerTable,
    found,
    load_settings,
    renew_server_certificate,
)
from server.service.check import check_coordinator
from shared.audit.log import AuditLog
from shared.audit.verify import entries, verify
from shared.errors import SiteError
from shared.files import Lock
from shared.pki.authority import Authority
from shared.pki.certificates import (
    CredentialError,
    check_issued,
    load_certificate,
    load_key,
    pem_of,
    server_context,
    utc_now,
)
from shared.pki.key_file import KeyFile
from shared.wire.https import CoordinatorError
from tests.cli import wardround
from tests.client.settings.test_enrolment import Coordinator, coordinator, running, serving  # noqa: F401


def test_a_site_joins_again_and_keeps_its_log_ledger_and_approvals(
    coordinator: Coordinator,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = tmp_path / "site"
    enrolment.enrol(coordinator.invite(), folder)
    keys = folder / "keys"
    AuditLog.open(folder / "audit", KeyFile(keys / "site.key")).append("service-stopped")
    with closing(sqlite3.connect(folder / "state.sqlite")) as ledger:
        ledger.execute("CREATE TABLE kept (what)")
    kept = {name: (folder / name).read_bytes() for name in ("state.sqlite", "keys/cohort.key")}
    before = (keys / "site.key").read_bytes()

    coordinator.registry.revoke("st-mary")
    invitation = coordinator.invite(sites_port=coordinator.sites_port)
    with pytest.raises(enrolment.EnrolmentError, match="--again"):
        enrolment.enrol(invitation, folder)
    settings = folder / "site.toml"
    settings.write_text(settings.read_text().replace(f":{coordinator.sites_port}", ":1"))
    enrolment.enrol(invitation, folder, again=True)
    assert (keys / "site.key").read_bytes() != before
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    assert sorted(path.name for path in keys.iterdir()) == ["ca.crt", "cohort.key", "site.crt", "site.key"]
    assert load_site(settings).site.coordinator == f"127.0.0.1:{coordinator.sites_port}"
    AuditLog.open(folder / "audit", KeyFile(keys / "site.key")).append("service-stopped")
    events = [entry.event for entry in entries(folder / "audit")]
    assert events == ["log-started", "service-stopped", "key-changed", "service-stopped"]
    assert verify(folder / "audit", load_key(keys / "site.key").public_key()) == []


def test_a_site_that_has_not_joined_does_not_join_again(coordinator: Coordinator, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(enrolment.EnrolmentError, match="has joined no federation yet"):
        enrolment.enrol(coordinator.invite(), tmp_path, again=True)


def test_another_address_changes_one_line(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(site_template("st-mary", "old.example.org:9443"))
    before = file.read_text()
    name_coordinator(file, "new.example.org:9443")
    assert file.read_text() == before.replace("old.example.org", "new.example.org")
    file.write_text('site = { name = "st-mary", coordinator = "old.example.org:9443" }\n')
    with pytest.raises(SiteError, match=r"by hand"):
        name_coordinator(file, "new.example.org:9443")


@pytest.fixture
def place(tmp_path: Path) -> Coordinator:
    """Give a coordinator that was founded 60 days ago, and listens nowhere yet."""
    made = Coordinator(tmp_path / "fed", lambda: utc_now() - timedelta(days=60))
    made.sites_port = made.people_port = 9443
    yield made
    made.registry.close()


def listening(place: Coordinator, authority: Authority):
    """Return the sites' listener of a coordinator as it stands now."""
    place.authority, place.api._authority = authority, authority
    return serving(Starlette(routes=place.api.site_routes()), server_context(place.folder, sites=True))


def join(place: Coordinator, folder: Path) -> None:
    """Let a site join without a network."""
    invitation, request = place.invite(), folder.with_suffix(".request")
    enrolment.write_request(invitation, folder, request)
    certificate = place.registry.sign(request.read_bytes(), place.authority)
    request.with_suffix(".crt").write_bytes(pem_of(certificate) + pem_of(place.authority.certificate))
    enrolment.accept_certificate(invitation, folder, request.with_suffix(".crt"))


def test_an_authority_is_renewed_and_both_are_valid_for_a_while(place: Coordinator, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    join(place, folder)
    old = load_certificate(folder / "keys" / "ca.crt")
    now = Authority(place.folder / "ca", place.authority.key, old)
    renewed = renew_authority(place.folder, now, "127.0.0.1")
    assert renewed.certificate.not_valid_after_utc > old.not_valid_after_utc + timedelta(days=50)
    check_issued(renewed.certificate, old, utc_now())
    with listening(place, renewed) as port:  # the site knows the old one
        name_coordinator(folder / "site.toml", f"127.0.0.1:{port}")
        enrolment.renew(folder)
        assert load_certificate(folder / "keys" / "ca.crt") == renewed.certificate
        enrolment.renew(folder, change_key=True)


def test_a_site_follows_a_coordinator_that_moved_and_no_other(place: Coordinator, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    join(place, folder)
    place.folder.joinpath("server.toml").write_text(
        place.folder.joinpath("server.toml").read_text().replace("127.0.0.1", "localhost")
    )
    [finding] = [one for one in check_coordinator(place.folder) if one.what == "certificate"]
    assert (finding.state, "rehost localhost" in str(finding.remedy)) == ("failure", True)
    with pytest.raises(CredentialError, match="rehost localhost"):
        renew_server_certificate(place.folder, place.authority, load_settings(place.folder).server.host)

    now = Authority(place.folder / "ca", place.authority.key, place.authority.certificate)
    moved = rehost(place.folder, now, "localhost")
    assert load_settings(place.folder).server.host == "localhost"
    [finding] = [one for one in check_coordinator(place.folder) if one.what == "certificate"]
    assert finding.state == "ok"
    with listening(place, moved) as port:
        follow(folder, f"localhost:{port}")
        assert load_site(folder / "site.toml").site.coordinator == f"localhost:{port}"
        assert load_certificate(folder / "keys" / "ca.crt") == moved.certificate

    other = found(tmp_path / "other", ServerTable(name="lung-eu", host="localhost"), None)
    context = server_context(tmp_path / "other", sites=False)  # takes any site, and shows its own authority
    place.api._authority = other
    with (
        serving(Starlette(routes=place.api.site_routes()), context) as port,
        pytest.raises(CredentialError, match="has another authority"),
    ):
        follow(folder, f"localhost:{port}")
    place.api._authority = moved  # what is public: but it can't prove to be the coordinator
    with (
        serving(Starlette(routes=place.api.site_routes()), context) as port,
        pytest.raises(CoordinatorError, match="did not show a certificate"),
    ):
        follow(folder, f"localhost:{port}")
    assert f":{port}" not in (folder / "site.toml").read_text()


def test_another_host_changes_that_of_the_server_alone(place: Coordinator) -> None:
    file = place.folder / "server.toml"
    mail = '\n[notify.mail]\nhost = "mail.example.org"\nsender = "a@b.org"\nrecipients = ["b@b.org"]\n'
    before = file.read_text() + mail
    file.write_text(before)
    now = Authority(place.folder / "ca", place.authority.key, place.authority.certificate)
    rehost(place.folder, now, "localhost")
    assert load_settings(place.folder).server.host == "localhost"
    assert file.read_text() == before.replace('host = "127.0.0.1"', 'host = "localhost"')

    certificate = (place.folder / "ca" / "ca.crt").read_bytes()
    for unfit in (mail, "[server]\nname = 'x'\n" + mail, "[server]\n\"host\" = 'a'\n" + mail):
        file.write_text(unfit)
        with pytest.raises(FolderError, match="has no line 'host'"):
            rehost(place.folder, now, "other.example.org")
        assert file.read_text() == unfit
    assert (place.folder / "ca" / "ca.crt").read_bytes() == certificate


def test_a_new_authority_that_can_t_be_moved_leaves_the_old_one(place: Coordinator, monkeypatch) -> None:
    before = (place.folder / "ca" / "ca.key").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("server.folder.authority_changes.shutil.move", full)
    with pytest.raises(FolderError, match="No space left"):
        replace_authority(place.folder, None)
    assert (place.folder / "ca" / "ca.key").read_bytes() == before


def test_a_full_disk_costs_a_site_that_joins_again_no_key(
    place: Coordinator, tmp_path: Path, monkeypatch
) -> None:
    folder = tmp_path / "site"
    join(place, folder)
    place.registry.revoke("st-mary")
    invitation, request = place.invite(), folder.with_suffix(".again")
    enrolment.write_request(invitation, folder, request, again=True)
    answer = folder.with_suffix(".crt")
    certificate = place.registry.sign(request.read_bytes(), place.authority)
    answer.write_bytes(pem_of(certificate) + pem_of(place.authority.certificate))

    def full(*_: object) -> None:
        raise CredentialError("can't be written (No space left on device)")

    monkeypatch.setattr(enrolment, "write_file", full)
    with pytest.raises(CredentialError, match="No space left"):
        enrolment.accept_certificate(invitation, folder, answer, again=True)
    monkeypatch.undo()
    enrolment.settle(folder / "keys")
    enrolment.accept_certificate(invitation, folder, answer, again=True)
    assert load_certificate(folder / "keys" / "site.crt") == certificate
    names = ["ca.crt", "cohort.key", "site.crt", "site.key"]
    assert sorted(path.name for path in (folder / "keys").iterdir()) == names


def test_a_lost_passphrase_costs_new_invitations_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    coordinator_folder = tmp_path / "fed"
    passphrase = tmp_path / "passphrase"
    monkeypatch.setenv("WARDROUND_CA_PASSPHRASE_FILE", str(passphrase))
    assert not wardround(
        "server", "init", coordinator_folder, "--name", "x", "--host", "127.0.0.1"
    ).returncode
    joins = wardround("server", "invite", "alpha", "--dir", coordinator_folder)
    assert joins.returncode == 0, joins.stderr
    passphrase.unlink()  # and is lost
    said = wardround("server", "authority", "new", "--dir", coordinator_folder)
    assert said.returncode == 0, said.stderr
    assert "a new authority" in said.stdout
    Authority.open(coordinator_folder / "ca", passphrase.read_bytes().strip())
    assert len(list(coordinator_folder.glob("ca.until-*/ca.key"))) == 1
    said = wardround("server", "invite", "alpha", "--dir", coordinator_folder)
    assert said.returncode == 0, said.stderr
    assert said.stdout != joins.stdout


def test_the_authority_of_a_running_coordinator_is_not_changed(place: Coordinator) -> None:
    (place.folder / "superlink").mkdir()
    with Lock(place.folder / "superlink" / "lock"), pytest.raises(Exception, match="the coordinator runs"):
        replace_authority(place.folder, None)
