"""The lives of runs in the coordinator's log: what each says in its folder, and how it ended."""

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.runs.event_words import words_of
from shared.run_folder import ABOUT, AT_WORK, ENDED, EVENTS, description_of, stamp_of, status_of
from shared.text.logs import about

log = logging.getLogger(__name__)

_LOOK = 1.0  # seconds between looks
_AT_ONCE = 2**20  # bytes of a run's events that are read in one look
_WARN = {"site_failed", "site_left_out", "site_late", "round_repeated", "not_evaluated"}
_SAID_BY_STATUS = "run_finished"


@dataclass
class _Seen:
    """What is known of a run: how far its events were read, and what it was at the last look."""

    stamp: object
    status: str
    offset: int = 0


class RunLog:
    """Logs what happens in runs from now on.

    Args:
        folder: Of the run folders.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[Path, _Seen] = {}
        for path in self._paths():
            with suppress(OSError, ValueError):
                end = (path / EVENTS).stat().st_size if (path / EVENTS).exists() else 0
                self._seen[path] = _Seen(None, status_of(path), end)

    async def watch(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(_LOOK)

    def look(self) -> None:
        """Log what is new; runs that can't be read are passed over."""
        for path in self._paths():
            with suppress(OSError, ValueError):
                self._look_at(path)

    def _paths(self) -> list[Path]:
        return [path.parent for path in self._folder.glob(f"*/{ABOUT}")]

    def _look_at(self, path: Path) -> None:
        stamp = stamp_of(path / ABOUT), stamp_of(path / EVENTS)
        seen = self._seen.get(path)
        if seen is not None and seen.stamp == stamp and seen.status not in AT_WORK:
            return
        found, status = description_of(path), status_of(path)
        whose = {"run": path.name, **{key: str(found.get(key) or "") for key in ("project", "researcher")}}
        if seen is None:
            seen = self._seen[path] = _Seen(stamp, status)
            _say(logging.INFO, whose, "is submitted", event="submitted")
        for line in self._new_events(path, seen):
            kind = str(line.get("event", ""))
            words = "goes on" if kind == "resumed" else words_of(line)
            if words and kind != _SAID_BY_STATUS:
                level = logging.WARNING if kind in _WARN else logging.INFO
                fields = {key: line.get(key) for key in ("event", "site", "round", "phase", "reason")}
                _say(level, whose, words, **fields)
        if status != seen.status and status in ENDED:
            reason = str(found.get("reason") or "")
            level = logging.ERROR if status in {"failed", "interrupted"} else logging.INFO
            words = f"is {status}" if status != "failed" else "has failed"
            _say(level, whose, f"{words}: {reason}" if reason else words, event=status, reason=reason)
        seen.stamp, seen.status = stamp, status

    def _new_events(self, path: Path, seen: _Seen) -> list[dict[str, Any]]:
        """Return the whole lines behind those that were read."""
        if not (path / EVENTS).exists():
            return []
        with (path / EVENTS).open("rb") as file:
            file.seek(seen.offset)
            content = file.read(_AT_ONCE)
        content = content[: content.rfind(b"\n") + 1] or (content if len(content) == _AT_ONCE else b"")
        seen.offset += len(content)
        return [line for text in content.splitlines() if (line := _parsed(text)) is not None]


def _say(level: int, whose: Mapping[str, str], words: str, **fields: Any) -> None:
    of = ", ".join(filter(None, (whose["project"], whose["researcher"])))
    log.log(
        level, "run %s%s: %s", whose["run"], f" ({of})" if of else "", words, extra=about(**whose, **fields)
    )


def _parsed(text: bytes) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        line = json.loads(text)
        return line if isinstance(line, dict) else None
    return None
