"""Reports are made by processes of their own: with PyTorch, which is loaded for the first one alone."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.web.drawing import process_environment
from shared.errors import RunError

_AT_ONCE = 2  # each has PyTorch in memory
_DEADLINE_S = 600.0  # people see what it does meanwhile; a busy machine is no error
_IDLE_S = 60.0
_LONGEST = 2**26  # bytes of an answer


@dataclass(frozen=True)
class Made:
    """A report: its title, and HTML."""

    title: str
    html: str


class _Maker:
    """One process; it ends when it has been idle for a while."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def make(self, asked: dict[str, Any], says: Callable[[str], None]) -> dict[str, str]:
        """Return the process's answer; `says` is told what it does meanwhile."""
        if self._idle:
            self._idle.cancel()
        try:
            async with asyncio.timeout(_DEADLINE_S):
                answer = await self._ask(asked, says)
        except BaseException:  # cancelled, too: what it still says would be taken for the next answer
            self.end()
            raise
        self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self.end)
        return answer

    def end(self) -> None:
        """End the process."""
        if self._idle:
            self._idle.cancel()
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._process = None

    async def close(self) -> None:
        """End the process, and return once it has ended."""
        if process := self._process:
            self.end()
            await process.wait()

    async def _ask(self, asked: dict[str, Any], says: Callable[[str], None]) -> dict[str, str]:
        process = await self._running()
        assert process.stdin is not None  # noqa: S101 (both are pipes)
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        await process.stdin.drain()
        while True:
            answer: dict[str, str] = json.loads(await process.stdout.readline())
            if "says" not in answer:
                return answer
            says(answer["says"])

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "server.web.report_process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=process_environment(),
                limit=_LONGEST,
            )
        return self._process


class ReportMakers:
    """Makes reports, few at once."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._free = [_Maker() for _ in range(_AT_ONCE)]  # the last one is used first: it may have PyTorch
        self._all = tuple(self._free)

    async def make(self, asked: dict[str, Any], says: Callable[[str], None]) -> Made:
        """Return a report.

        Args:
            asked: The folders of `runs`, the `role` of who looks, and whether it is a `whole` page.
            says: Told what is being done, for people to read.

        Raises:
            RunError: A run can't be read, or the runs can't be compared.
        """
        async with self._turns:
            maker = self._free.pop()
            try:
                answer = await maker.make(asked, says)
            except (TimeoutError, OSError, ValueError):
                log = "The coordinator's log says why."
                raise RunError("the report could not be made", remedy=log) from None
            finally:
                self._free.append(maker)
        if "error" in answer:
            raise RunError(answer["error"], remedy=answer["remedy"] or None)
        return Made(answer["title"], answer["html"])

    async def close(self) -> None:
        """End the processes."""
        for maker in self._all:
            await maker.close()
