"""Charts drawn by a process of their own: what draws them is large, and runs JavaScript."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

from markupsafe import Markup

from shared.errors import WardroundError
from shared.metrics.figures import Figure
from shared.recent import Recent

_DEADLINE_S = 30.0
_IDLE_S = 60.0
_LONGEST = 2**26  # bytes of an answer
_KEPT = 64  # charts


class DrawingError(WardroundError):
    """A chart can't be drawn."""


class Drawer:
    """Draws one chart after the other; the process begins with the first, and ends when it is idle."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._kept: Recent[str, Markup] = Recent(_KEPT)
        self._idle: asyncio.TimerHandle | None = None

    async def draw(self, figures: Sequence[Figure]) -> list[Markup]:
        """Return figures as SVG, for a page.

        Raises:
            DrawingError: The process broke off, twice.
        """
        return [await self._one(json.dumps(asdict(figure))) for figure in figures]

    async def close(self) -> None:
        """End the process."""
        if process := self._process:
            self._end()
            await process.wait()

    def _end(self) -> None:
        if self._idle:
            self._idle.cancel()
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._process = None

    async def _one(self, figure: str) -> Markup:
        async with self._turn:
            if figure in self._kept:
                return self._kept[figure]
            try:
                drawn = await self._ask(figure)
            except (OSError, ValueError, TimeoutError):
                self._end()
                try:
                    drawn = await self._ask(figure)
                except (OSError, ValueError, TimeoutError) as error:
                    self._end()
                    raise DrawingError(f"a chart can't be drawn ({error!r})") from None
            self._kept[figure] = drawn
            return drawn

    async def _ask(self, figure: str) -> Markup:
        process = await self._running()
        assert process.stdin is not None  # noqa: S101 (both are pipes)
        assert process.stdout is not None  # noqa: S101
        async with asyncio.timeout(_DEADLINE_S):
            process.stdin.write(figure.encode() + b"\n")
            await process.stdin.drain()
            answer = json.loads(await process.stdout.readline())
        loop = asyncio.get_running_loop()
        if self._idle:
            self._idle.cancel()
        self._idle = loop.call_later(_IDLE_S, self._end)
        return Markup(answer)  # noqa: S704 (made here, its texts escaped by Vega)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "server.web.draw_process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=process_environment(),
                limit=_LONGEST,
            )
        return self._process


def process_environment() -> dict[str, str]:
    """Return the environment of our own processes: where Python finds us, and no secret of the service's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
