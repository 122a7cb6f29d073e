"""Rows of a list of runs, which are read again only where a run has changed."""

from collections.abc import Callable
from pathlib import Path

from server.runs.control import RunRow
from shared.run_folder import ABOUT, AT_WORK, ROUNDS, stamp_of


class KeptRows:
    """Rows of a list of runs, for as long as the files of a run stay as they are."""

    def __init__(self) -> None:
        self._rows: dict[Path, tuple[object, RunRow]] = {}

    def row(self, folder: Path, read: Callable[[Path], RunRow]) -> RunRow:
        """Return the row of a run; of one at work it is read anew, as its process may have died."""
        stamp = [stamp_of(folder / name) for name in (ABOUT, ROUNDS)]
        known = self._rows.get(folder)
        if known is None or known[0] != stamp or known[1].status in AT_WORK:
            known = self._rows[folder] = stamp, read(folder)
        return known[1]
