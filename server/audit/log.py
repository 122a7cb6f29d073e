"""The coordinator's own audit log: `audit/` in its folder, signed with a key of its own, `audit.key`."""

import getpass
import os
from pathlib import Path

from server.audit.trail import Append
from shared.audit.fields import AuditError
from shared.audit.log import AuditLog
from shared.pki.certificates import new_key, save_key
from shared.pki.key_file import KeyFile

FOLDER, KEY = "audit", "audit.key"


def create_audit_key(folder: Path) -> None:
    """Make the key that signs the entries, readable by its owner only.

    Raises:
        CredentialError: It can't be written.
    """
    save_key(folder / KEY, new_key())


def open_audit(folder: Path) -> AuditLog:
    """Open the log of a coordinator's folder; several processes may have it open.

    Raises:
        CredentialError: Its key can't be used.
        AuditError: There is no key, or the log can't be written.
    """
    if not (folder / KEY).exists():
        remedy = "Is this a folder made by `wardround server init`? If the key was lost, restore a backup."
        raise AuditError("the key of the audit log is missing", where=folder / KEY, remedy=remedy)
    return AuditLog.open(folder / FOLDER, KeyFile(folder / KEY))


def operator_audit(folder: Path) -> Append:
    """Return what writes an entry for somebody who works on the coordinator's own machine.

    Each entry names the user of the operating system. The log is opened when there is something to write.
    """
    user = os.environ.get("SUDO_USER") or getpass.getuser()

    def append(event: str, **fields: str) -> object:
        return open_audit(folder).append(event, user=user, **fields)

    return append
