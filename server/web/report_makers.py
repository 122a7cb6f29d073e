"""Reports are made by processes of their own: with PyTorch, which is loaded for the first one alone."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.web.line_process import LineProcess
from shared.errors import RunError

_AT_ONCE = 2  # each has PyTorch in memory
_DEADLINE_S = 600.0  # people see what it does meanwhile; a busy machine is not an error


@dataclass(frozen=True)
class Made:
    """A report: its title, and HTML."""

    title: str
    html: str


class ReportMakers:
    """Makes reports, few at once."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._all = tuple(LineProcess("server.web.report_process", _DEADLINE_S) for _ in range(_AT_ONCE))
        self._free = list(self._all)  # the last one is used first: it may have PyTorch

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
                async with maker.asked(json.dumps(asked)) as lines:
                    while "says" in (answer := json.loads(await anext(lines))):
                        says(answer["says"])
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
