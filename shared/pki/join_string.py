"""The join string: the one line that a coordinator's operator hands to a hospital.

``wardround-join:v1:`` and the base64url of four check bytes (the start of a SHA-256) and a JSON object. It is
a secret until it was used.
"""

import base64
import binascii
import hashlib
from typing import Annotated

from pydantic import Field, ValidationError

from shared.pki.certificates import CredentialError
from shared.table import Name, Table

PREFIX = "wardround-join:v1:"
CHECK = 4  # bytes
Port = Annotated[int, Field(ge=1, le=65535)]


class Join(Table):
    """What a hospital needs to join: where, whom to trust, and the right to do it once."""

    site: Name
    host: Annotated[str, Field(min_length=1, max_length=253)]
    people_port: Port
    sites_port: Port
    authority: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="Fingerprint of the authority.")]
    token: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{20,100}$", repr=False)]

    def __str__(self) -> str:
        """Return the join string."""
        content = self.model_dump_json().encode()
        return PREFIX + base64.urlsafe_b64encode(_check(content) + content).decode("ascii").rstrip("=")


def parse_join(text: str) -> Join:
    """Read a join string; line breaks and blanks that a mail program put in are ignored.

    Raises:
        CredentialError: It is none, or was not copied as a whole.
    """
    line = "".join(text.split())
    if not line.startswith(PREFIX):
        raise CredentialError(f"a join string begins with '{PREFIX}'")
    encoded = line.removeprefix(PREFIX)
    try:
        content = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        content = b""
    check, content = content[:CHECK], content[CHECK:]
    if not content or check != _check(content):
        raise CredentialError("the join string was cut or changed", remedy="Copy the whole line again.")
    try:
        return Join.model_validate_json(content)
    except ValidationError:
        raise CredentialError("the join string is of another version of Wardround") from None


def _check(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:CHECK]
