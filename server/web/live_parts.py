"""A page's live parts, for all browsers that show it: made once, and sent where they have changed."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from functools import partial

from server.gateway.run_desk import LONGEST_STREAM, SIGN_OF_LIFE
from server.runs.shared_looks import SharedLook
from shared.web.live import ALIVE, event

_EVENTS = 64  # that are kept for those who are a little behind


class LiveParts(SharedLook):
    """What the browsers are sent that show the same."""

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}
        self._events: deque[bytes] = deque(maxlen=_EVENTS)
        self._count = 0  # of events so far
        self._clock = asyncio.get_running_loop().time
        super().__init__()

    async def events(self) -> AsyncIterator[bytes]:
        """Yield what a browser is sent: everything, and then what changes."""
        end, known = self._clock() + LONGEST_STREAM, -1
        while self._clock() < end:
            if known < self._count - len(self._events) or known < 0:
                known, content = self._count, [event(self._parts)] if self._parts else [ALIVE]
            else:
                behind, known = self._count - known, self._count
                content = list(self._events)[len(self._events) - behind :] or [ALIVE]
            for one in content:
                yield one
            if self.is_over:
                return
            await self._wait(partial(self._has_more, known), SIGN_OF_LIFE)

    def _has_more(self, known: int) -> bool:
        return self._count > known or self.is_over

    def _show(self, parts: Mapping[str, str]) -> None:
        changed = {name: html for name, html in parts.items() if self._parts.get(name) != html}
        if changed:
            self._parts |= changed
            self._events.append(event(changed))
            self._count += 1
            self._tell()
