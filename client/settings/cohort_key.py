"""`keys/cohort.key`: the secret by which a site splits its patients. It is made once and never renewed.

Whoever has it can tell which side a patient is on. With another key, every split and fold would be another.
"""

import secrets
from pathlib import Path

from client.data.manifest.splits import KEY_BYTES, CohortKey
from shared.files import write_new, writing_remedy
from shared.pki.certificates import CredentialError

NAME = "cohort.key"


def read_key(keys: Path) -> CohortKey | None:
    """Read the key from a site's folder `keys`; None where there is none.

    Raises:
        CredentialError: It can't be read, is open to other users, or is not a key.
    """
    return read_secret(keys / NAME)


def make_key(keys: Path) -> CohortKey:
    """Return the site's key, made if it is missing; of two that make it at once, one wins.

    Raises:
        CredentialError: It can't be read or written.
    """
    return make_secret(keys / NAME)


def read_secret(path: Path) -> CohortKey | None:
    """Read a key from a file; None where there is none.

    Raises:
        CredentialError: It can't be read, is open to other users, or is not a key.
    """
    try:
        secret, mode = path.read_bytes(), path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CredentialError(f"can't be read ({error.strerror})", where=path) from None
    if mode & 0o027:
        raise CredentialError("other users may use this key", where=path, remedy=f"chmod 600 {path}")
    if len(secret) != KEY_BYTES:
        problem = f"has {len(secret)} bytes, and a key has {KEY_BYTES}"
        raise CredentialError(problem, where=path, remedy="Put the key of the site's backup back.")
    return CohortKey(secret)


def make_secret(path: Path) -> CohortKey:
    """Return the key in a file, made if it is missing; of two that make it at once, one wins.

    Raises:
        CredentialError: It can't be read or written.
    """
    found = read_secret(path)
    if found is not None:
        return found
    try:
        write_new(path, secrets.token_bytes(KEY_BYTES))
    except FileExistsError:
        pass  # made by another process meanwhile
    except OSError as error:
        problem = f"can't be written ({error.strerror})"
        raise CredentialError(problem, where=path, remedy=writing_remedy(error)) from None
    made = read_secret(path)
    assert made is not None  # noqa: S101 (it has just been written)
    return made
