"""Heads of a site's audit log on their way: asked for, sent, and shown to belong to one log.

With a question the coordinator names the newest head of the site's log that it knows. With the answer the
site gives its new head, and signs that the log has grown from the one to the other, after it has looked. A
log that was put back to an earlier state, however long it is by now, has another entry under that number.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.app import ConfigRecord, RecordDict

AUDIT = "audit"  # name of the record
_PURPOSE = b"wardround audit log grew\n"  # before what is signed: the key signs other things too
_HEAD = re.compile(r"\d{1,15}:[0-9a-f]{64}")
_LONGEST_SIGNATURE = 200  # characters of base64; P-384 takes 140


@dataclass(frozen=True)
class Grown:
    """What a site says of its log.

    Attributes:
        head: Number and hash of the newest entry.
        before: The head that the coordinator named; empty where it named none.
        signature: That `head` follows from `before`, base64; empty where nothing was named.
    """

    head: str
    before: str = ""
    signature: str = ""

    @property
    def number(self) -> int:
        """Number of the newest entry."""
        return number(self.head)

    def is_signed_by(self, keys: Iterable[str]) -> bool:
        """Say whether one of several keys, in OpenSSH's format, has signed it."""
        try:
            signature = base64.b64decode(self.signature, validate=True)
        except binascii.Error:
            return False
        return any(_verifies(signature, statement(self.before, self.head), key) for key in keys)


def number(head: str) -> int:
    """Return the number of the entry that a head names."""
    return int(head.partition(":")[0])


def statement(before: str, head: str) -> bytes:
    """Return what a site signs: that its log has grown from one head to another."""
    return _PURPOSE + f"{before} {head}".encode()


def ask(content: RecordDict, head: str) -> RecordDict:
    """Return the content of a question that names the head from which the log must have grown."""
    return RecordDict({**content, AUDIT: ConfigRecord({"head": head})})


def asked(content: RecordDict) -> str:
    """Return the head that a question names; empty where it names none."""
    return _head(content, "head")


def add(content: RecordDict, grown: Grown) -> None:
    """Send the head of the site's log along with an answer."""
    content[AUDIT] = ConfigRecord({"head": grown.head, "before": grown.before, "signature": grown.signature})


def read(content: RecordDict) -> Grown | None:
    """Return what an answer says of the site's log, if it looks like it."""
    head = _head(content, "head")
    record = content.get(AUDIT)
    if not head or not isinstance(record, ConfigRecord):
        return None
    signature = record.get("signature")
    if not isinstance(signature, str) or len(signature) > _LONGEST_SIGNATURE:
        signature = ""
    return Grown(head, _head(content, "before"), signature)


def _head(content: RecordDict, key: str) -> str:
    record = content.get(AUDIT)
    head = record.get(key) if isinstance(record, ConfigRecord) else None
    return head if isinstance(head, str) and _HEAD.fullmatch(head) else ""


def _verifies(signature: bytes, content: bytes, openssh: str) -> bool:
    key = load_ssh_public_key(openssh.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, content, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        return False
    return True
