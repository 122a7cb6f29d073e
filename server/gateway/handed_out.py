"""Questions that a site was given, until it says that they came.

Flower's SuperLink hands out each message once. Where the line is cut as it does, or the site no longer waits
for a busy SuperLink, a message would be lost, and its run wait for the site to the end of the round. So the
gateway asks in a task of its own, which goes on when the site leaves, and gives the same answer again until
the site's mark changes.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from shared.flower.connection import has_message

Ask = Callable[[], Coroutine[Any, Any, httpx.Response]]
"""Asks the SuperLink for work."""


@dataclass
class _Given:
    mark: bytes
    answer: asyncio.Task[httpx.Response]

    @property
    def is_over(self) -> bool:
        """Whether nothing came of it that could have been lost."""
        if not self.answer.done():
            return False
        if self.answer.cancelled() or self.answer.exception() is not None:
            return True
        response = self.answer.result()
        return response.status_code != HTTPStatus.OK or not has_message(response.content)


class HandedOut:
    """The last answer to each site's question for work."""

    def __init__(self) -> None:
        self._given: dict[str, _Given] = {}

    async def answer(self, site: str, mark: bytes, ask: Ask) -> httpx.Response:
        """Return the answer to a site's question: what was asked before under this mark, or is being asked.

        Args:
            site: Name of the site.
            mark: Of the site's process and of how many messages have come to it.
            ask: Asks anew.

        Raises:
            httpx.HTTPError: The SuperLink did not answer.
        """
        given = self._given.get(site)
        if given is not None and not given.answer.done():
            given.mark = mark  # nobody can have had it yet
        if given is None or given.mark != mark or given.is_over:
            given = self._given[site] = _Given(mark, asyncio.create_task(ask()))
            given.answer.add_done_callback(_noted)
        return await asyncio.shield(given.answer)


def _noted(answer: asyncio.Task[httpx.Response]) -> None:
    """Let asyncio not complain of an error that nobody was there to hear: the site asks again."""
    if not answer.cancelled():
        answer.exception()
