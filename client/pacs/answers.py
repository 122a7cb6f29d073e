"""What an archive may answer: neither compressed, nor nested or long without end."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from client.pacs.archive_settings import PacsError

PLAIN = {"accept-encoding": "identity"}
"""Asks for an answer as it is."""

MOST_LISTED = 20_000
"""Studies of one question, or series of one study."""

_LONGEST_COUNT = 9  # digits


def require_plain(answer: httpx.Response) -> None:
    """Check that an answer is not compressed: of few bytes any number could come.

    Raises:
        PacsError: It is.
    """
    if answer.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise PacsError("compresses its answer, and was asked not to", where=answer.url.host)


def parsed(content: bytes) -> Any:
    """Return what JSON says; None where it is none, or is nested too deeply."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def values(item: Mapping[str, Any], tag: str) -> list[Any]:
    """Return the values that DICOM JSON has under a tag; none where it is not as it should be."""
    found = item.get(tag)
    listed = found.get("Value") if isinstance(found, dict) else None
    return listed if isinstance(listed, list) else []


def count(text: str) -> int | None:
    """Return a count that an archive says; None where it says none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_COUNT else None
