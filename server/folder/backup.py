"""Backup and restore of the coordinator's folder.

A backup is a tar file (0600) of everything but `runs/` and `tls/`, which the authority can make again. SQLite
files are copied with SQLite's own backup, so the coordinator need not stop. Private keys go in only if
they are encrypted, or asked for.
"""

import gzip
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from server.audit.log import KEY, create_audit_key, operator_audit
from server.folder.coordinator import ANSWERS, MODELS, RUNS, FolderError, load_settings, require_absent
from server.folder.new_folder import made_whole
from server.registry.enrolment import Registry
from server.registry.store import REGISTRY, Audit
from shared.files import writing_remedy

LEFT_OUT = {RUNS, "tls", MODELS, ANSWERS}
OPEN_KEY = re.compile(rb"\s*-----BEGIN ([A-Z]+ )?PRIVATE KEY-----(?<!ENCRYPTED PRIVATE KEY-----)")
SQLITE = b"SQLite format 3\x00"
SQLITE_SIDE_FILES = ("-wal", "-shm", "-journal")


def backup(folder: Path, file: Path, audit: Audit, *, include_keys: bool) -> bool:
    """Write a backup and say if the authority's key is in it.

    Raises:
        FolderError: The folder is not a coordinator's, the file exists already, or it can't be written.
    """
    settings = load_settings(folder)
    paths = [path for path in _files(folder) if include_keys or not _is_open_key(path)]
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
                for path in paths:
                    _add(archive, path, path.relative_to(folder))
        except BaseException:
            file.unlink()
            raise
    except FileExistsError:
        raise FolderError("exists already; nothing is overwritten", where=file) from None
    except OSError as error:
        problem = f"can't be written ({error.strerror or error})"
        raise FolderError(problem, where=file, remedy=writing_remedy(error)) from None
    except sqlite3.Error as error:
        raise FolderError(f"the registry can't be copied ({error})", where=file) from None
    audit("backup-written", federation=settings.server.name)
    return folder / "ca" / "ca.key" in paths


def restore(file: Path, folder: Path) -> None:
    """Make a coordinator's folder from a backup; invitations that were open in it are withdrawn.

    The audit log goes on, with a new key where the old one is not in the backup.

    Raises:
        FolderError: The folder is there and not empty, or the file is not a whole backup.
    """
    folder = folder.absolute()
    require_absent(folder)
    try:
        with made_whole(folder) as new:
            with gzip.open(file) as stream:
                with tarfile.open(fileobj=stream, mode="r:") as archive:
                    _extract(archive, new)
                while stream.read(2**20):
                    pass  # the checksum stands at the very end
            settings = load_settings(new)
            (new / RUNS).mkdir(mode=0o700)
            if not (new / KEY).exists():
                create_audit_key(new)
            audit = operator_audit(new)
            with closing(Registry(new / REGISTRY, audit)) as registry:
                registry.withdraw_invitations()
            audit("backup-restored", federation=settings.server.name)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, sqlite3.Error) as error:
        raise FolderError(f"is not a whole backup ({error})", where=file) from None
    except OSError as error:
        raise FolderError(f"can't be restored ({error})", where=file) from None


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        left_out = path.relative_to(folder).parts[0] in LEFT_OUT or path.name.endswith(SQLITE_SIDE_FILES)
        if path.is_file() and not path.is_symlink() and not left_out:
            yield path


def _is_open_key(path: Path) -> bool:
    with path.open("rb") as file:
        return OPEN_KEY.match(file.read(64)) is not None


def _add(archive: tarfile.TarFile, path: Path, name: Path) -> None:
    with path.open("rb") as file:
        is_sqlite = file.read(len(SQLITE)) == SQLITE
    if not is_sqlite:
        archive.add(path, str(name), recursive=False)
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / path.name
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        archive.add(copy, str(name), recursive=False)


def _extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Write the files of a backup, readable by this user only whatever the archive says.

    Python 3.11.2, which Debian 12 has, lacks `extractall(filter=...)`; a backup holds plain files alone.

    Raises:
        TarError: A member is not a plain file inside the folder, or appears twice.
    """
    for member in archive:
        path = folder / member.name
        content = archive.extractfile(member) if member.isreg() else None
        if content is None or not _is_inside(member.name) or path.exists():
            raise tarfile.TarError(f"it holds {member.name!r}, which no backup does")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path, "xb", opener=_private) as file:
            shutil.copyfileobj(content, file)


def _is_inside(name: str) -> bool:
    """Say if a name leads to a file below the folder that it is taken in."""
    return "\x00" not in name and all(part not in {"", ".", ".."} for part in name.split("/"))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
