"""What `server.toml` may say, and `wardround server check`."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from server.audit.log import open_audit, operator_audit
from server.folder.backup import backup, restore
from server.folder.coordinator import SETTINGS, FolderError, ServerTable, found, load_settings
from server.gateway.gateway import listen
from server.service.check import check_coordinator
from shared.findings import Finding
from simulate.federation.processes import free_ports

PROJECT = Path(__file__).parents[3]
EXAMPLE = PROJECT / "configs" / "server" / "server.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sites_port, people_port = free_ports(2)
    settings = ServerTable(name="trial", host="127.0.0.1", sites_port=sites_port, people_port=people_port)
    found(tmp_path / "fed", settings, None)
    return tmp_path / "fed"


def test_a_federation_is_founded_and_restored_inside_a_volume(tmp_path: Path, monkeypatch) -> None:
    """A volume of a container is there and empty, and can't be replaced."""
    volume, other = tmp_path / "volume", tmp_path / "other"
    for folder in (volume, other):
        (folder / "lost+found").mkdir(parents=True)
    inode = volume.stat().st_ino
    with monkeypatch.context() as patched:
        patched.setattr(
            "server.folder.coordinator.create_audit_key", partial(raise_, OSError(28, "No space left"))
        )
        with pytest.raises(FolderError, match="No space left"):
            found(volume, ServerTable(name="trial", host="127.0.0.1"), None)
    assert [path.name for path in volume.iterdir()] == ["lost+found"]
    found(volume, ServerTable(name="trial", host="127.0.0.1"), b"a passphrase that is long")
    assert volume.stat().st_ino == inode
    assert [path.name for path in tmp_path.iterdir() if path not in {volume, other}] == []
    backup(volume, tmp_path / "backup.tar.gz", operator_audit(volume), include_keys=False)
    restore(tmp_path / "backup.tar.gz", other)
    for folder in (volume, other):
        assert load_settings(folder).server.name == "trial"
        assert [finding.what for finding in check_coordinator(folder) if finding.state == "failure"] == []
    with pytest.raises(FolderError, match="is there already"):
        found(volume, ServerTable(name="trial", host="127.0.0.1"), None)


def raise_(error: Exception, *_: object) -> None:
    raise error


def write(folder: Path, text: str) -> None:
    with (folder / "server.toml").open("a", encoding="utf-8") as file:
        file.write(text)


def test_limits_and_addresses_are_read(folder: Path) -> None:
    assert load_settings(folder).server.listen_addresses() == ("127.0.0.1", "127.0.0.1")
    text = (folder / "server.toml").read_text(encoding="utf-8")
    text = text.replace('# people_address = "10.0.0.5"', 'people_address = "::1"')
    (folder / "server.toml").write_text(text, encoding="utf-8")
    write(folder, "\n[limits.sites]\nconnections = 7\n")
    config = load_settings(folder)
    assert config.server.listen_addresses() == ("127.0.0.1", "::1")
    assert (config.limits.sites.connections, config.limits.people.connections) == (7, 500)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limits.sites]\nconnections = 0", "[limits] sites.connections: must be above 0"),
        ("[limits.people]\nconection = 5", "[limits] people.conection: unknown key"),
        ("[limits]\nidle_s = 3", "[limits] idle_s: unknown key"),
        ("[limit]\n", "[limit]: unknown table; did you mean 'limits'?"),
    ],
)
def test_a_wrong_limit_is_named(folder: Path, text: str, message: str) -> None:
    write(folder, f"\n{text}\n")
    with pytest.raises(FolderError, match=re.escape(message)):
        load_settings(folder)


def test_the_example_is_what_init_writes_and_all_its_keys_can_be_set(tmp_path: Path) -> None:
    table = ServerTable(name="lung-eu", host="federation.example.org")
    assert EXAMPLE.read_text(encoding="utf-8") == SETTINGS.format(**table.model_dump(), schemas="../schemas")
    text = re.sub(r"^# (\w+ = |\[)", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (tmp_path / "server.toml").write_text(text, encoding="utf-8")
    assert load_settings(tmp_path).limits.people.connections_each == 64


def states(folder: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in check_coordinator(folder)}


def test_a_new_coordinator_passes_the_check(folder: Path) -> None:
    found = states(folder)
    assert [what for what, finding in found.items() if finding.state == "failure"] == []
    assert {"server.toml", "sites port", "authority", "registry", "audit log", "Flower"} <= found.keys()


def no_registry(folder: Path) -> None:
    (folder / "registry.sqlite").write_bytes(b"not a database")


def open_key(folder: Path) -> None:
    (folder / "audit.key").chmod(0o644)


def changed_log(folder: Path) -> None:
    log = open_audit(folder)
    log.append("site-invited", site="st-mary")
    [file] = (folder / "audit").glob("*.jsonl")
    file.write_text(file.read_text().replace("st-mary", "st-paul"))


def no_authority(folder: Path) -> None:
    (folder / "ca" / "ca.key").unlink()


def wrong_setting(folder: Path) -> None:
    write(folder, "[limits]\nx = 1\n")


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (no_registry, "registry"),
        (open_key, "secrets"),
        (changed_log, "audit log"),
        (no_authority, "authority"),
        (wrong_setting, "server.toml"),
    ],
)
def test_the_check_finds_it_and_says_what_to_do(
    folder: Path, spoil: Callable[[Path], None], what: str
) -> None:
    spoil(folder)
    assert states(folder)[what].state == "failure"


def test_a_port_that_is_taken_is_found(folder: Path) -> None:
    with listen("127.0.0.1", load_settings(folder).server.sites_port):
        finding = states(folder)["sites port"]
    assert finding.state == "failure"
    assert "server.toml" in str(finding.remedy)
