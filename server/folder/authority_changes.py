"""Changes of a federation's authority: a new certificate for its key, another host, or another key.

A new certificate of the same key is valid beside the old one: sites take it with their next certificate, and
nobody has to join again. A new key, where the old one's passphrase is lost or the key has leaked, is another
authority: every site joins again.
"""

import re
import shutil
import tempfile
import tomllib
from pathlib import Path

from server.folder.coordinator import FolderError, load_settings, write_server_certificate
from server.superlink.superlink import is_running
from shared.pki.authority import Authority
from shared.pki.certificates import host_name, pem_of, write_file

_HOST = re.compile(  # of [server] alone: other tables have hosts, too
    r'''(^[ \t]*\[server\](?:.*\n(?![ \t]*\[))*?.*\n[ \t]*host[ \t]*=[ \t]*)"[^"\n]*"''', re.MULTILINE
)


def renew_authority(folder: Path, authority: Authority, host: str) -> Authority:
    """Give the authority a new certificate for its key, and the listeners one that it has signed.

    Args:
        folder: The coordinator's, which must be stopped.
        authority: Opened.
        host: Under which the coordinator is reached.

    Raises:
        FolderError: The coordinator runs.
        CredentialError: `host` is not valid, or a file can't be written.
    """
    _require_stopped(folder)
    renewed = authority.renewed(host)
    write_file(folder / "ca" / "ca.crt", pem_of(renewed.certificate), 0o644)
    write_server_certificate(folder, renewed, host)
    return renewed


def rehost(folder: Path, authority: Authority, host: str) -> Authority:
    """Let the coordinator be reached under another host: settings, authority, listeners' certificate.

    Args:
        folder: The coordinator's, which must be stopped.
        authority: Opened.
        host: The new one.

    Raises:
        FolderError: The coordinator runs, or `server.toml` can't be changed.
        CredentialError: `host` is not valid, or a file can't be written.
    """
    _require_stopped(folder)
    host_name(host)
    file = folder / "server.toml"
    changed, count = _HOST.subn(lambda line: f'{line[1]}"{host}"', file.read_text(encoding="utf-8"))
    if count != 1 or _host_of(changed) != host:
        raise FolderError("has no line 'host'", where=file, remedy=f'Write host = "{host}" under [server].')
    renewed = renew_authority(folder, authority, host)
    write_file(file, changed.encode(), 0o644)
    load_settings(folder)
    return renewed


def _host_of(settings: str) -> object:
    try:
        return tomllib.loads(settings).get("server", {}).get("host")
    except tomllib.TOMLDecodeError:
        return None


def replace_authority(folder: Path, passphrase: bytes | None) -> tuple[Authority, Path]:
    """Found a new authority in a coordinator's folder; its sites have to be revoked, and to join again.

    Args:
        folder: The coordinator's, which must be stopped.
        passphrase: Of the new key; None writes it in the clear.

    Returns:
        The new authority, and the folder in which the old one is kept.

    Raises:
        FolderError: The coordinator runs, or a folder can't be moved.
        CredentialError: The passphrase is too short, or a file can't be written.
    """
    _require_stopped(folder)
    settings, old = load_settings(folder).server, folder / "ca"
    with tempfile.TemporaryDirectory(prefix=".ca.", dir=folder) as scratch:
        made = Authority.create(Path(scratch) / "ca", settings.name, settings.host, passphrase)
        kept = folder / f"ca.until-{made.clock():%Y%m%d-%H%M%S}"
        try:
            old.rename(kept)
            try:
                shutil.move(Path(scratch) / "ca", old)
            except OSError:
                kept.rename(old)
                raise
        except OSError as error:
            raise FolderError(f"can't be moved ({error.strerror})", where=old) from None
    authority = Authority(old, made.key, made.certificate, made.clock)
    write_server_certificate(folder, authority, settings.host)
    return authority, kept


def _require_stopped(folder: Path) -> None:
    if is_running(folder / "superlink"):
        remedy = "Stop it, do this, and start it again."
        raise FolderError("the coordinator runs, with the authority that it has", where=folder, remedy=remedy)
