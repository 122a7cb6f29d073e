"""Charts drawn by a process of their own: what draws them is large, and runs JavaScript."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict

from markupsafe import Markup

from server.web.line_process import LineProcess
from shared.errors import WardroundError
from shared.metrics.figures import Figure
from shared.recent import Recent

_DEADLINE_S = 30.0
_KEPT = 64  # charts


class DrawingError(WardroundError):
    """A chart can't be drawn."""


class Drawer:
    """Draws one chart after the other; the process begins with the first, and ends when it is idle."""

    def __init__(self) -> None:
        self._process = LineProcess("server.web.draw_process", _DEADLINE_S)
        self._turn = asyncio.Lock()
        self._kept: Recent[str, Markup] = Recent(_KEPT)

    async def draw(self, figures: Sequence[Figure]) -> list[Markup]:
        """Return figures as SVG, for a page.

        Raises:
            DrawingError: The process broke off, twice.
        """
        return [await self._one(json.dumps(asdict(figure))) for figure in figures]

    async def close(self) -> None:
        """End the process."""
        await self._process.close()

    async def _one(self, figure: str) -> Markup:
        async with self._turn:
            if figure in self._kept:
                return self._kept[figure]
            try:
                drawn = await self._ask(figure)
            except (OSError, ValueError, TimeoutError):
                try:
                    drawn = await self._ask(figure)
                except (OSError, ValueError, TimeoutError) as error:
                    raise DrawingError(f"a chart can't be drawn ({error!r})") from None
            self._kept[figure] = drawn
            return drawn

    async def _ask(self, figure: str) -> Markup:
        async with self._process.asked(figure) as lines:
            answer = json.loads(await anext(lines))
        return Markup(answer)  # noqa: S704 (made here, its texts escaped by Vega)
