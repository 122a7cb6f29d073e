"""Watching runs: one look for all who watch a run, in a thread only where its files have changed."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from itertools import islice
from typing import Any

from server.runs.event_tail import EventTail
from server.runs.shared_looks import SharedLook, SharedLooks
from shared.errors import RunError
from shared.run_folder import ABOUT, EVENTS, RunRecord, stamp_of

LOOK_S = 0.2  # between looks at whether a run's files have changed
STATUS_S = 2.0  # between looks at the rest: a run whose process died changes no file
_MOST = 256  # lines that are kept for those who watch; who is further behind reads the file
_FILES = (EVENTS, ABOUT)

Line = tuple[int, dict[str, Any]]
Look = tuple[list[Line], str | None]
Read = Callable[[Callable[[], Look]], Awaitable[Look]]


class Watching:
    """The runs that are being watched.

    Args:
        read: Does a look in a thread.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._looks: SharedLooks[_RunLook] = SharedLooks()

    async def follow(self, run: RunRecord, after: int, pause: float) -> AsyncGenerator[Look, None]:
        """Yield the lines of a run after the first ones, as they come; the last look has the run's status.

        Args:
            run: The run.
            after: So many lines are known.
            pause: Seconds without a line after which an empty look is given.

        Raises:
            RunError: The run is not there any more.
        """
        tail = EventTail(run, after)
        ended = None
        while ended is None:
            lines, ended = await self._read(tail.read)
            if lines or ended:
                yield lines, ended
            if ended or tail.is_behind:
                continue
            known = tail.line
            begin = partial(_RunLook, run, tail.line, self._read)
            async with self._looks.join(run.path, begin) as shared:
                while ended is None and (look := await shared.after(known, pause)) is not None:
                    known = look[0][-1][0] if look[0] else known
                    ended = look[1]
                    yield look
            tail.know(known)


class _RunLook(SharedLook):
    """One run, looked at for all who watch it.

    Args:
        run: The run.
        line: Where those who watch are.
        read: Does a look in a thread.
    """

    def __init__(self, run: RunRecord, line: int, read: Read) -> None:
        self._folder = run.path
        self._tail = EventTail(run, line)
        self._read = read
        self._lines: deque[Line] = deque()
        self._gone = line  # the last line before those that are kept
        self._ended: str | None = None
        self._error: RunError | None = None
        super().__init__()

    async def after(self, line: int, pause: float) -> Look | None:
        """Return the lines after one, once there are some, the run has ended, or the time is over.

        None says that lines after it are not kept any more.

        Raises:
            RunError: The run is not there any more.
        """
        await self._wait(lambda: self._is_news(line), pause)
        if self._error:
            raise self._error
        if line < self._gone:
            return None
        return list(islice(self._lines, line - self._gone, None)), self._ended

    def _is_news(self, line: int) -> bool:
        return self._gone + len(self._lines) > line or self._ended is not None or self._error is not None

    async def _keep(self) -> None:
        clock = asyncio.get_running_loop().time
        seen: object = None
        due = 0.0
        try:
            while self._ended is None:
                stamp = [stamp_of(self._folder / name) for name in _FILES]
                if stamp != seen or clock() >= due:
                    seen, due = stamp, clock() + STATUS_S
                    await self._look()
                await asyncio.sleep(LOOK_S)
        except RunError as error:
            self._error = error
            self._tell()

    async def _look(self) -> None:
        """Read what is new, all of it."""
        self._tail.is_behind = True
        while self._tail.is_behind:
            lines, self._ended = await self._read(self._tail.read)
            self._lines.extend(lines)
            while len(self._lines) > _MOST:
                self._gone = self._lines.popleft()[0]
            if lines or self._ended:
                self._tell()
