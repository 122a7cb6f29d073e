"""Reading the events of a run while they are being written."""

import json
import os
from typing import Any

from shared.run_folder import ENDED, EVENTS, RunRecord

LONGEST_LINE = 2**16  # bytes; a longer one is left out, as nobody who watches could read it
_AT_ONCE = 2**18  # bytes read in one look


class EventTail:
    """Gives the lines of a run's `events.jsonl` once each.

    The file is opened anew for every look: resuming a run puts a new one in its place, with the same lines.
    A line that is too long, or no JSON object, comes as an event `line_left_out` in its place.

    Args:
        run: The run.
        after: So many lines are known already.
    """

    def __init__(self, run: RunRecord, after: int = 0) -> None:
        self._run = run
        self._known = after
        self._offset = 0  # everything before it was given, or passed over
        self._passed = 0  # bytes of a line that is too long, just before the offset
        self.line = 0
        """Number of the last line that was read to its end."""
        self.is_behind = False
        """Whether there was more to read than one look takes."""

    def know(self, line: int) -> None:
        """Do not give the lines up to this one, which came in another way."""
        self._known = max(self._known, line)

    def read(self) -> tuple[list[tuple[int, dict[str, Any]]], str | None]:
        """Return new lines, each with its number from 1, and the status of a run that has ended.

        A look reads `_AT_ONCE` bytes at most. Once it gives a status, there is nothing more.

        Raises:
            RunError: The run is not there any more.
        """
        status = self._run.status  # before the reading: what is written before the end is read after it
        content = self._more()
        self.is_behind = len(content) == _AT_ONCE
        found, start = [], 0
        while (end := content.find(b"\n", start)) >= 0:
            self.line += 1
            if self.line > self._known:
                size = self._passed + end - start
                event = _parsed(content[start:end]) if size <= LONGEST_LINE else None
                found.append((self.line, event or {"event": "line_left_out", "bytes": size}))
            self._passed = 0
            start = end + 1
        rest = len(content) - start  # the last line may be half written
        if self._passed or rest > LONGEST_LINE:
            self._passed += rest
            start = len(content)
        self._offset += start
        return found, status if status in ENDED and not self.is_behind else None

    def _more(self) -> bytes:
        try:
            with (self._run.path / EVENTS).open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:  # half a line was removed, and passed over
                    self._offset -= self._passed
                    self._passed = 0
                file.seek(self._offset)
                return file.read(_AT_ONCE)
        except FileNotFoundError:  # the run was made a moment ago
            return b""


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
