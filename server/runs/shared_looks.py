"""One look for all who look at the same: a task begins with the first of them, and ends with the last."""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)


class SharedLook(ABC):
    """What several look at; its task begins when it is made, so that is done in an event loop."""

    def __init__(self) -> None:
        self.watchers = 0
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._keep())
        self._task.add_done_callback(self._note_end)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._task.done()

    def close(self) -> None:
        """Look no more."""
        self._task.cancel()

    @abstractmethod
    async def _keep(self) -> None:
        """Look, and tell those who wait, until there is nothing more to see."""

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """Let those who wait see that nothing more will come; a fault of the program is written down."""
        self._tell()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("what several look at can't be looked at any more", exc_info=error)

    def _tell(self) -> None:
        """Wake those who wait."""
        self._news.set()
        self._news = asyncio.Event()

    async def _wait(self, is_news: Callable[[], bool], seconds: float) -> None:
        """Return once there is news for somebody, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not is_news():
                    await self._news.wait()


L = TypeVar("L", bound=SharedLook)


class SharedLooks(Generic[L]):
    """The looks that are under way, by what is looked at."""

    def __init__(self) -> None:
        self._looks: dict[Hashable, L] = {}

    @asynccontextmanager
    async def join(self, key: Hashable, begin: Callable[[], L]) -> AsyncIterator[L]:
        """Join the look at something; who is the first begins it, and with the last it ends."""
        look = self._looks.get(key)
        if look is None or look.is_over:
            look = self._looks[key] = begin()
        look.watchers += 1
        try:
            yield look
        finally:
            look.watchers -= 1
            if not look.watchers:
                look.close()
                if self._looks.get(key) is look:
                    del self._looks[key]
