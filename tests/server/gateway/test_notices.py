"""The bell between the gateway and the round loop: who waits is woken, and nobody hangs when it is gone."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.gateway.notices import BELL, Bell, Rope, hang_bell

LONG = 3600.0  # of the clock: who waits so long was not woken, and the test ends before that


@asynccontextmanager
async def bell_and_rope() -> AsyncIterator[tuple[Bell, Rope]]:
    async with hang_bell() as bell:
        rope = await asyncio.to_thread(Rope)
        while not bell.is_heard:
            await asyncio.sleep(0)
        yield bell, rope


def test_a_pull_wakes_who_waits() -> None:
    async def ring() -> None:
        async with bell_and_rope() as (bell, rope):
            waiting = asyncio.create_task(bell.wait(bell.rings, LONG))
            await asyncio.to_thread(rope.pull)
            await waiting

    asyncio.run(ring())


def test_a_ring_that_was_missed_is_not_waited_for() -> None:
    async def ring() -> None:
        async with bell_and_rope() as (bell, rope):
            before = bell.rings
            await asyncio.to_thread(rope.pull)
            await bell.wait(before, LONG)  # whether it has come by now or comes later
            await bell.wait(before, LONG)

    asyncio.run(ring())


def test_an_answer_wakes_the_round_loop() -> None:
    async def answer() -> None:
        async with bell_and_rope() as (bell, rope):
            waiting = asyncio.create_task(asyncio.to_thread(rope.wait, LONG))
            bell.answered()
            await waiting

    asyncio.run(answer())


def test_where_no_round_loop_runs_nobody_waits() -> None:
    async def wait() -> None:
        await Bell().wait(0, LONG)

    asyncio.run(wait())


def test_waiting_ends_by_the_clock_while_nobody_rings() -> None:
    async def wait() -> None:
        async with bell_and_rope() as (bell, rope):
            await bell.wait(bell.rings, 0.05)
            await asyncio.to_thread(rope.wait, 0.05)
            assert rope.hangs

    asyncio.run(wait())


def test_when_the_gateway_ends_the_round_loop_goes_on_by_the_clock() -> None:
    async def leave() -> Rope:
        async with bell_and_rope() as (_, rope):
            return rope

    rope = asyncio.run(leave())
    rope.wait(LONG)  # the end of the bell wakes it
    assert not rope.hangs
    rope.pull()
    rope.wait(0.01)


def test_without_a_bell_there_is_only_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BELL, raising=False)
    assert not Rope().hangs
    monkeypatch.setenv(BELL, os.devnull)
    assert not Rope().hangs
