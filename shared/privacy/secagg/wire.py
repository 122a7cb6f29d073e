"""Fields of bytes as one string of bytes, in exactly one way: what is signed must not be ambiguous."""

import re

from shared.privacy.secagg.errors import SecureAggregationError
from shared.text.names import NAME

_LENGTH = 4  # bytes before each field, big endian
_NAME = re.compile(NAME)


def pack(*fields: bytes) -> bytes:
    """Return the fields, each after its length."""
    return b"".join(len(field).to_bytes(_LENGTH, "big") + field for field in fields)


def unpack(data: bytes, kind: bytes) -> list[bytes]:
    """Return the fields after the first one, which says what kind of message it is.

    Raises:
        SecureAggregationError: The data are of another kind, cut short or too long.
    """
    fields, position = [], 0
    while position < len(data):
        begin = position + _LENGTH
        position = begin + int.from_bytes(data[position:begin], "big")
        if begin > len(data) or position > len(data):
            raise SecureAggregationError("a message of the secure aggregation is cut short")
        fields.append(data[begin:position])
    if not fields or fields[0] != kind:
        raise SecureAggregationError("a message of the secure aggregation has the wrong kind")
    return fields[1:]


def fixed(field: bytes, length: int) -> bytes:
    """Return a field that must have an exact number of bytes.

    Raises:
        SecureAggregationError: It has not.
    """
    if len(field) != length:
        raise SecureAggregationError(f"a field has {len(field)} bytes instead of {length}")
    return field


def at_most(field: bytes, length: int) -> bytes:
    """Return a field that has at least one byte, and no more than a limit.

    Raises:
        SecureAggregationError: It has not.
    """
    if not 0 < len(field) <= length:
        raise SecureAggregationError(f"a field has {len(field)} bytes instead of 1 to {length}")
    return field


def name(field: bytes) -> str:
    """Return a site's name.

    Raises:
        SecureAggregationError: It has characters that no name has.
    """
    try:
        text = field.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not _NAME.fullmatch(text):
        raise SecureAggregationError("a site's name has characters that no name has")
    return text


def names(fields: list[bytes]) -> tuple[str, ...]:
    """Return names of sites, which must be in order and none twice.

    Raises:
        SecureAggregationError: They are not.
    """
    found = tuple(name(field) for field in fields)
    return in_order(found)


def in_order(found: tuple[str, ...]) -> tuple[str, ...]:
    """Return names that must be in order and none twice.

    Raises:
        SecureAggregationError: They are not.
    """
    if list(found) != sorted(set(found)):
        raise SecureAggregationError("the sites of a message are not in order, or one appears twice")
    return found
