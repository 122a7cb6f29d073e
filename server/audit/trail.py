"""The coordinator's audit log as its listeners use it: in order, off the event loop, and never flooded."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

log = logging.getLogger(__name__)

Append = Callable[..., object]
WINDOW_S = 60.0
ENTRIES_A_WINDOW = 300  # of refusals: whoever is not let in must not be able to fill the disk


class AuditTrail:
    """Writes entries one after the other from one thread.

    Args:
        append: Writes an entry, `append(event, **fields)`; `AuditLog.append` is one.
        clock: Seconds that only grow.
    """

    def __init__(self, append: Append, clock: Callable[[], float] = time.monotonic) -> None:
        self._append = append
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")
        self._window_ends = 0.0
        self._causes: set[tuple[str, str, str]] = set()
        self._unwritten = 0

    def write(self, event: str, **fields: str) -> None:
        """Write an entry before this returns; raises what `append` raises."""
        self._thread.submit(self._append, event, **fields).result()

    async def record(self, event: str, **fields: str) -> None:
        """Write an entry before this returns, without holding up others."""
        await asyncio.wrap_future(self._thread.submit(self._append, event, **fields))

    def refused(self, event: str, who: str, **fields: str) -> None:
        """Write that something was refused, once a minute for the same event, peer and reason.

        What is left out is counted: the next entry says how many in `unwritten`.

        Args:
            event: Name of the event.
            who: The site or address that was refused.
            fields: What else the entry holds.
        """
        if self._clock() >= self._window_ends:
            self._window_ends = self._clock() + WINDOW_S
            self._causes.clear()
        cause = (event, who, fields.get("reason", ""))
        if cause in self._causes or len(self._causes) >= ENTRIES_A_WINDOW:
            self._unwritten += 1
            return
        self._causes.add(cause)
        unwritten, self._unwritten = self._unwritten, 0
        done = self._thread.submit(self._append, event, who=who, unwritten=str(unwritten), **fields)
        done.add_done_callback(_report)

    def close(self) -> None:
        """Return when the last entry is written."""
        self._thread.shutdown()


def _report(done: "Future[object]") -> None:
    if error := done.exception():
        log.error("the audit log can't be written: %s", error)
