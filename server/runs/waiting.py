"""For whom a run waits, or where it is in the queue, as its `run.json` says and as people read it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

NOT_CONNECTED = "not connected"


def waiting_for(waiting: Mapping[str, Any]) -> str:
    """Return the sites that a run waits for: ``st-mary (approval, since 10:02 UTC), boston (not connected)``.

    Args:
        waiting: The entry of that name in `run.json`.
    """
    sites: Mapping[str, Mapping[str, str]] = waiting.get("sites", {})
    return ", ".join(f"{name} ({_standing(sites[name])})" for name in sorted(sites))


def queued_at(queue: Mapping[str, Any]) -> str:
    """Return the place of a run in the queue: ``place 2: 2 runs are at work``.

    Args:
        queue: The entry of that name in `run.json`.
    """
    because = f": {queue['because']}" if queue.get("because") else ""
    return f"place {queue['place']}{because}" if queue.get("place") else f"about to begin{because}"


def _standing(site: Mapping[str, str]) -> str:
    state = site.get("state", "")
    if state == NOT_CONNECTED:
        return state
    since = _moment(site.get("since", ""))
    return f"{state}, since {since}" if since else state


def _moment(text: str) -> str:
    """Return the time of a moment, with the day where it is another one than today."""
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return ""
    today = moment.date() == datetime.now(UTC).date()
    return f"{moment:%H:%M} UTC" if today else f"{moment:%Y-%m-%d %H:%M} UTC"


def shown_waiting(about: Mapping[str, Any], status: str) -> str:
    """Return where a run is in the queue, or for whom it waits; nothing where it does not."""
    if status == "queued":
        return queued_at(about.get("queue") or {})
    waiting = about.get("waiting")
    return f"waiting for {waiting_for(waiting)}" if waiting else ""
