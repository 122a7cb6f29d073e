"""A process of our own that answers lines with lines: begun when it is asked, ended when it is idle."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator

_IDLE_S = 60.0
_LONGEST = 2**26  # bytes of an answer


class LineProcess:
    """One process; who asks it waits for the end of the answer before it is asked again.

    Args:
        module: Run by `python -m`; reads a line of stdin, and answers with one or more of stdout.
        deadline: Seconds for a whole answer.
    """

    def __init__(self, module: str, deadline: float) -> None:
        self._module = module
        self._deadline = deadline
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def asked(self, line: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Ask, and give the lines of the answer; the block ends once it has the last one.

        Where the block fails or is cancelled the process ends, as what it still says would be taken for the
        next answer. A process that has died gives empty lines.

        Raises:
            TimeoutError: The answer took too long.
        """
        if self._idle:
            self._idle.cancel()
        try:
            async with asyncio.timeout(self._deadline):
                yield await self._begin(line)
        except BaseException:
            self._end()
            raise
        self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self._end)

    async def close(self) -> None:
        """End the process, and return once it has ended."""
        if process := self._process:
            self._end()
            await process.wait()

    async def _begin(self, line: str) -> AsyncIterator[bytes]:
        process = await self._running()
        assert process.stdin is not None  # noqa: S101 (both are pipes)
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(line.encode() + b"\n")
        await process.stdin.drain()
        return _lines(process.stdout)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                self._module,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=process_environment(),
                limit=_LONGEST,
            )
        return self._process

    def _end(self) -> None:
        if self._idle:
            self._idle.cancel()
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._process = None


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        yield await stream.readline()


def process_environment() -> dict[str, str]:
    """Return the environment of our own processes: where Python finds us, and no secret of the service's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
