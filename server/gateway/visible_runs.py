"""Who may see what of the runs that are being watched, read anew when a run's description has changed."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from server.registry.people import Role
from server.runs.local import Coordinator
from server.runs.visibility import Figures
from shared.run_folder import ABOUT, RunRecord, stamp_of

_MOST = 256  # runs and roles that are kept
_Stamp = tuple[int, int, int] | None


class AtHand:
    """Keeps the `Figures` of runs, by role; a look takes no thread while `run.json` stays as it is.

    Args:
        read: Does what reads a file, in a thread.
    """

    def __init__(self, read: Callable[[Callable[[], Figures]], Awaitable[Figures]]) -> None:
        self._read = read
        self._kept: dict[tuple[Path, Role | None], tuple[_Stamp, Figures]] = {}

    async def figures(self, coordinator: Coordinator, run: RunRecord) -> Figures:
        """Return what the one for whom a coordinator works may see of a run."""
        key, stamp = (run.path, coordinator.role), stamp_of(run.path / ABOUT)
        found = self._kept.get(key)
        if found is None or found[0] != stamp or stamp is None:
            if len(self._kept) >= _MOST:
                self._kept.clear()
            found = stamp, await self._read(lambda: coordinator.figures(run))
            self._kept[key] = found
        return found[1]
