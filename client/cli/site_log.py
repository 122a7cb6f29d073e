"""The audit log of a site, for commands in which the hospital's own systems are asked or given something."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def site_log(folder: Path) -> Any:
    """Open the audit log of a site.

    Raises:
        SiteError: There is no site.
    """
    from shared.audit.log import AuditLog
    from shared.errors import SiteError
    from shared.pki.key_file import KeyFile

    key = folder / "keys" / "site.key"
    if not key.exists():
        raise SiteError(
            "there is no site here, in whose audit log it would stand",
            where=folder,
            remedy="Give the site's folder with --dir, or make one with `wardround client enrol`.",
        )
    return AuditLog.open(folder / "audit", KeyFile(key))


def stored_note(folder: Path) -> Callable[[str, int, int], None]:
    """Return what writes into a site's audit log that objects are about to be stored in an archive.

    Raises:
        SiteError: There is no site.
    """
    from client.guard.decisions import user_here

    log = site_log(folder)

    def note(digest: str, files: int, size: int) -> None:
        log.append("results-stored", sha256=digest, examples=files, bytes=size, user=user_here())

    return note
