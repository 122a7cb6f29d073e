"""The list of runs while somebody looks at it: who waits, what has ended, what is new."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from server.gateway.people import Caller
from server.runs.shared_looks import SharedLooks
from server.web.live_parts import LiveParts
from shared.errors import WardroundError

_LOOK_S = 2.0  # between looks
Make = Callable[[], Awaitable[dict[str, str]]]


class LiveList:
    """What browsers are sent of the list of runs."""

    def __init__(self) -> None:
        self._looks: SharedLooks[_List] = SharedLooks()

    async def follow(self, user: Caller, make: Make) -> AsyncIterator[bytes]:
        """Yield events for a browser.

        Args:
            user: Who looks; all tabs of one person share a look.
            make: Makes the parts anew; cheap where nothing has changed.
        """
        key = user.name, user.role, tuple(user.projects)
        async with self._looks.join(key, partial(_List, make)) as look:
            async for content in look.events():
                yield content


class _List(LiveParts):
    def __init__(self, make: Make) -> None:
        self._make = make
        super().__init__()

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(WardroundError):  # the next look tries again
                self._show(await self._make())
            await asyncio.sleep(_LOOK_S)
