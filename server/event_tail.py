"""Reading the events of a run while they are being written."""

import json
from typing import Any

from server.run_control import ENDED
from server.runs import RunFolder

_MOST = 2**20  # bytes read at once


class EventTail:
    """Gives the lines of a run's `events.jsonl` once each.

    The file is opened anew for every look: resuming a run puts a new one in its place, with the same lines.

    Attributes:
        run: The run.

    Args:
        run: The run.
        after: So many lines are known already.
    """

    def __init__(self, run: RunFolder, after: int = 0) -> None:
        self.run = run
        self._known = after
        self._line = 0
        self._offset = 0

    def read(self) -> tuple[list[tuple[int, dict[str, Any]]], str | None]:
        """Return the new lines, each with its number from 1, and the status of a run that has ended.

        Raises:
            RunError: The run is not there any more.
        """
        status = self.run.status  # before the reading: what is written before the end is read after it
        content = self._more()
        whole = content[: content.rfind(b"\n") + 1]  # the last line may be half written
        self._offset += len(whole)
        found = []
        for line in whole.splitlines():
            self._line += 1
            if self._line > self._known:
                found.append((self._line, json.loads(line)))
        return found, status if status in ENDED and len(content) < _MOST else None

    def _more(self) -> bytes:
        try:
            with (self.run.path / "events.jsonl").open("rb") as file:
                file.seek(self._offset)
                return file.read(_MOST)
        except FileNotFoundError:  # the run was made a moment ago
            return b""
