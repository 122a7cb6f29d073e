"""Browsers of `watching.py`, a process of their own: `browsers.serve()` does what lines of JSON on stdin ask.

They log in and read the live parts of a run's page, each over a connection of its own. What they see is kept:
how many rounds the page says are done, and when it said so first.
"""

import asyncio
import json
import os
import re
import ssl
import sys
import time
from typing import Any

import httpx

SHAKING = 16  # handshakes at a time: fewer than one address may have under way
_DONE = re.compile(r"<dd>(\d+) of \d+</dd>")


class Browsers:
    """Browsers at one coordinator.

    Args:
        url: Of the people's listener.
        ca: File of its authority.
    """

    def __init__(self, url: str, ca: str) -> None:
        self._url = url
        self._context = ssl.create_default_context(cafile=ca)
        self._door = asyncio.Semaphore(SHAKING)
        self._cookies: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._watching = 0
        self._seen: list[tuple[int, float]] = []
        self._bytes = 0

    async def log_in(self, tokens: list[str]) -> None:
        """Get a cookie for each token."""
        async with httpx.AsyncClient(verify=self._context, timeout=60) as client:
            for token in tokens:
                form = {"token": token, "next": "/"}
                answer = await client.post(f"{self._url}/log-in", data=form, headers={"origin": self._url})
                said = answer.headers["set-cookie"].rpartition("__Host-wardround=")[2]
                self._cookies.append(said.partition(";")[0])
                client.cookies.clear()

    async def come(self, run: str, count: int) -> dict[str, Any]:
        """Open the page of a run in so many browsers."""
        self._seen, self._bytes = [], 0
        cookies = [self._cookies[number % len(self._cookies)] for number in range(count)]
        self._tasks = [asyncio.create_task(self._read(run, cookie)) for cookie in cookies]
        while self._watching < count:
            await asyncio.sleep(0.05)
            self._check()
        return {"watching": count}

    async def leave(self) -> dict[str, Any]:
        """Close all of them; returns what they have seen."""
        self._check()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return {"seen": self._seen, "bytes": self._bytes}

    def _check(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()
                raise RuntimeError("a browser was cut off")

    async def _read(self, run: str, cookie: str) -> None:
        async with self._door:
            port = int(self._url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=self._context, limit=2**24)
            head = f"GET /runs/{run}/live HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: __Host-wardround={cookie}"
            writer.write(f"{head}\r\n\r\n".encode())
            if b" 200 " not in (status := await reader.readline()):
                raise RuntimeError(f"refused: {status!r}")
        self._watching += 1
        known = -1
        try:
            while line := await reader.readline():
                self._bytes += len(line)
                if not line.startswith(b"data: "):  # between them stand the lengths of chunks
                    continue
                if found := _DONE.search(json.loads(line[6:]).get("now", "")):
                    done = int(found[1])
                    if known >= 0 and done > known:  # what was there when it came is not new
                        self._seen.append((done, time.time()))
                    known = done
        finally:
            self._watching -= 1
            writer.close()


def serve() -> None:
    """Do what is asked, until stdin ends. It gives way to others: browsers are other machines."""
    os.nice(19)
    asyncio.run(_serve())


async def _serve() -> None:
    browsers: Browsers | None = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        if browsers is None:
            browsers = Browsers(asked["url"], asked["ca"])
            await browsers.log_in(asked["tokens"])
            answer: dict[str, Any] = {}
        elif "run" in asked:
            answer = await browsers.come(asked["run"], asked["count"])
        else:
            answer = await browsers.leave()
        print(json.dumps(answer), flush=True)
