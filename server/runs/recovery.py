"""Runs that were broken off by the end of the SuperLink go on by themselves, from their last checkpoint."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from server.runs.folder import RunFolder
from server.runs.life import note_broken_off
from server.runs.local import Coordinator
from server.superlink.superlink import SuperLink
from shared.errors import WardroundError
from shared.run_folder import AT_WORK, interrupted, left_waiting
from shared.text.logs import about

log = logging.getLogger(__name__)

_LOOK = 1.0  # seconds
_REVIEW = 10.0  # seconds between two looks at which runs lie broken off for a reason of their own
_BROKEN_OFF = (*AT_WORK, "interrupted")
_END_S = 60.0  # the process of a run notices within some seconds that its SuperLink is gone
_TRIES = 3  # in one round: what breaks off again and again may itself be the cause


class Recovery:
    """Watches the SuperLink.

    A run's process may die before its SuperLink's end is noticed here, or long after. What was broken off two
    looks ago has another reason, and waits for a person.

    Args:
        link: Supervised.
        runs: The coordinator's, in whose name the runs go on.
        folder: Of the run folders.
    """

    def __init__(self, link: SuperLink, runs: Coordinator, folder: Path) -> None:
        self._link = link
        self._runs = runs
        self._folder = folder
        self._tries: dict[tuple[str, int], int] = {}  # by run and its last round

    async def watch(self) -> None:
        """Resume what was running whenever the SuperLink has been replaced; until cancelled.

        What was waiting for its sites when the coordinator ended goes on at once.
        """
        clock = asyncio.get_running_loop().time
        starts, reviewed = self._link.starts, clock()
        before = recent = await asyncio.to_thread(interrupted, self._folder)
        await asyncio.to_thread(self._note, before, "the coordinator ended")
        if waiting := await asyncio.to_thread(left_waiting, self._folder):
            await self._link.wait_healthy()
            await asyncio.gather(*map(self._go_on, waiting))
        while True:
            await asyncio.sleep(_LOOK)
            if self._link.starts != starts:
                starts = self._link.starts
                await self._link.wait_healthy()
                await self._go_on_with_all(before)
            elif clock() < reviewed + _REVIEW:
                continue
            before, recent = recent, await asyncio.to_thread(interrupted, self._folder)
            await asyncio.to_thread(
                self._note, before & recent, "its process was killed, or ran out of memory"
            )
            reviewed = clock()

    async def _go_on_with_all(self, left: set[str]) -> None:
        try:
            rows = await asyncio.to_thread(self._runs.list)
        except (WardroundError, OSError, ValueError) as error:  # the watch goes on
            log.warning("runs can't go on by themselves: %s", error)
            return
        broken_off = [row.name for row in rows if row.status in _BROKEN_OFF and row.name not in left]
        await asyncio.gather(*(self._go_on(name) for name in broken_off))

    async def _go_on(self, name: str) -> None:
        """Wait until the process of a run has ended, and start it again."""
        end = asyncio.get_running_loop().time() + _END_S
        try:
            while (row := (found := await asyncio.to_thread(self._runs.look, name)).row).status in AT_WORK:
                if asyncio.get_running_loop().time() > end:
                    return  # it has found its way back
                await asyncio.sleep(_LOOK)
            if row.status != "interrupted":
                return
            tries = self._tries[name, row.round] = self._tries.get((name, row.round), 0) + 1
            if tries > _TRIES and not found.description.get("waiting"):  # which may take days
                why = f"was broken off {tries} times in round {row.round}; resume it by hand"
                log.error("run %s %s", name, why, extra=about(run=name, round=row.round, reason=why))
                return
            log.info("run %s was broken off and goes on", name, extra=about(run=name))
            await asyncio.to_thread(self._runs.resume, name)
        except (WardroundError, OSError, ValueError) as error:
            log.warning("run %s can't go on: %s", name, error, extra=about(run=name))

    def _note(self, names: set[str], reason: str) -> None:
        """Write down why runs were broken off; those that can't be written are left as they are."""
        for name in names:
            with suppress(WardroundError, OSError, ValueError):
                note_broken_off(RunFolder.read(self._folder / name), reason)
