"""A message that was handed out and lost on the way comes again, and no other one twice."""

import asyncio
from collections.abc import Callable, Coroutine

import httpx
import pytest
from flwr.proto.fleet_pb2 import PullMessagesResponse
from flwr.proto.message_pb2 import Message, Metadata

from server.gateway.handed_out import HandedOut

from .conftest import Credential, Federation, Upstream, post

NOTHING = b""


class SuperLink:
    """Hands out each message once, when it is let."""

    def __init__(self, *contents: bytes | Exception) -> None:
        self.left = [*contents]
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def ask(self) -> httpx.Response:
        content = self.left.pop(0)
        await self.goes_on.wait()
        if isinstance(content, Exception):
            raise content
        return httpx.Response(200, content=content)


def message(run: int) -> bytes:
    return PullMessagesResponse(messages_list=[Message(metadata=Metadata(run_id=run))]).SerializeToString()


FIRST, SECOND = message(1), message(2)


def run(scenario: Callable[[HandedOut], Coroutine[None, None, None]]) -> None:
    asyncio.run(scenario(HandedOut()))


def test_the_same_mark_gets_the_same_message_and_the_next_one_another() -> None:
    async def scenario(handed_out: HandedOut) -> None:
        superlink = SuperLink(FIRST, SECOND, NOTHING, NOTHING, FIRST)
        marks = (b"p-0", b"p-0", b"p-1", b"p-2", b"p-2", b"p-2", b"p-2")
        answers = [(await handed_out.answer("alpha", mark, superlink.ask)).content for mark in marks]
        assert answers == [FIRST, FIRST, SECOND, NOTHING, NOTHING, FIRST, FIRST]
        assert superlink.left == []

    run(scenario)


def test_a_site_that_leaves_while_the_superlink_is_slow_gets_what_it_asked_for() -> None:
    async def scenario(handed_out: HandedOut) -> None:
        superlink = SuperLink(FIRST, SECOND)
        superlink.goes_on.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await handed_out.answer("alpha", b"p-0", superlink.ask)
        again = asyncio.create_task(handed_out.answer("alpha", b"another-0", superlink.ask))  # a new process
        await asyncio.sleep(0)
        superlink.goes_on.set()
        assert (await again).content == FIRST
        assert (await handed_out.answer("beta", b"another-0", superlink.ask)).content == SECOND

    run(scenario)


def test_what_failed_is_asked_again() -> None:
    async def scenario(handed_out: HandedOut) -> None:
        superlink = SuperLink(httpx.ConnectError("away"), FIRST)
        with pytest.raises(httpx.ConnectError):
            await handed_out.answer("alpha", b"p-0", superlink.ask)
        assert (await handed_out.answer("alpha", b"p-0", superlink.ask)).content == FIRST

    run(scenario)


def test_a_message_whose_line_was_cut_comes_again(
    federation: Federation, site: Credential, upstream: Upstream
) -> None:
    upstream.messages = [FIRST, SECOND]
    asked = [
        post("/v1/fleet/pull-messages", site, more=b"wardround-mark: p-%d\r\n" % come) for come in (0, 1)
    ]
    with federation.connect(site) as connection:
        connection.send(asked[0])
        assert upstream.handed_out.wait(20)
    with federation.connect(site) as connection:
        connection.send(asked[0])
        assert connection.answer()[2] == FIRST
        connection.send(asked[1])
        assert connection.answer()[2] == SECOND
