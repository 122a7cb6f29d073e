"""The passphrase of the authority's key: from a file that the environment names, or from the terminal."""

import getpass
import os
import secrets
import sys
from pathlib import Path

from shared.pki.authority import Authority
from shared.pki.certificates import CredentialError, is_encrypted, write_file

PASSPHRASE_FILE = "WARDROUND_CA_PASSPHRASE_FILE"  # noqa: S105 (a variable's name)


def read_passphrase(where: Path, *, new: bool = False) -> bytes:
    """Return the passphrase of the authority's key, from the file that the environment names or the terminal.

    Args:
        where: The key, for error messages.
        new: Ask twice; make the file, with a passphrase of its own, where it is not there. Where there is no
            terminal either, the file is made beside the coordinator's folder.

    Raises:
        CredentialError: There is neither such a file nor a terminal, or it was typed differently.
    """
    remedy = f"Run this on a terminal, or let {PASSPHRASE_FILE} name a file that holds it."
    file = os.environ.get(PASSPHRASE_FILE)
    if file is None and new and not sys.stdin.isatty():
        folder = where.parents[1].resolve()
        file = str(folder.with_name(f"{folder.name}.passphrase"))
    if file == "-":
        return sys.stdin.buffer.readline().rstrip(b"\r\n")
    if file is not None:
        try:
            if new and not Path(file).exists():
                _make_passphrase(Path(file))
            return Path(file).read_bytes().rstrip(b"\r\n")
        except OSError as error:
            problem = f"can't be read ({error.strerror})"
            raise CredentialError(problem, where=file, remedy=remedy) from None
    if not sys.stdin.isatty():
        raise CredentialError("needs a passphrase", where=where, remedy=remedy)
    passphrase = getpass.getpass("Passphrase of the authority's key: ")
    if new and getpass.getpass("The same again: ") != passphrase:
        raise CredentialError("the two passphrases differ", where=where)
    return passphrase.encode()


def _make_passphrase(file: Path) -> None:
    """Write a passphrase of 192 random bits into a new file."""
    write_file(file, secrets.token_urlsafe(24).encode() + b"\n")
    print(f"{file}: made, with a new passphrase. Keep a copy elsewhere: without it nothing can be signed.")
    print(f"  The service finds it by {PASSPHRASE_FILE}={file}")


def open_authority(folder: Path) -> Authority:
    """Open the authority of a coordinator's folder; asks for the passphrase if the key has one.

    Raises:
        CredentialError: The key can't be opened.
    """
    key = folder / "ca" / "ca.key"
    return Authority.open(folder / "ca", read_passphrase(key) if is_encrypted(key) else None)
