"""The moment as files and books have it: UTC, ISO 8601."""

from datetime import UTC, datetime
from typing import Literal


def utc_text(timespec: Literal["seconds", "milliseconds"] = "seconds") -> str:
    """Return the time of now as text, such as ``2026-02-28T14:05:09+00:00``; texts sort as times do."""
    return datetime.now(UTC).isoformat(timespec=timespec)
