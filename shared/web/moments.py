"""Moments as people read them: in UTC, and how long ago."""

from datetime import UTC, datetime

_UNITS = ((86400 * 365, "year"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def moment_of(value: object) -> datetime | None:
    """Return a moment from ISO 8601, seconds since 1970 or a datetime; None where it is none of these."""
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, int | float):
            moment = datetime.fromtimestamp(value, UTC)
        else:
            moment = datetime.fromisoformat(str(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def utc(value: object) -> str:
    """Return a moment as ``2026-11-26 13:26 UTC``; a dash where there is none."""
    moment = moment_of(value)
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "–"


def relative(value: object, now: datetime | None = None) -> str:
    """Return how far away a moment is: ``3 minutes ago``, ``in 5 days``; nothing where there is none."""
    moment = moment_of(value)
    if moment is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(seconds)}"


def span(seconds: float) -> str:
    """Return a length of time in the largest unit that it fills: ``2 hours``."""
    size, unit = next(((size, unit) for size, unit in _UNITS if abs(seconds) >= size), (1, "second"))
    count = round(abs(seconds) / size)
    return f"{count} {unit}{'' if count == 1 else 's'}"
