"""The sites that could train in any round so far: by their number a strategy weighs what it adds up."""

from collections.abc import Iterable

from server.runs.checkpoint import Checkpoint
from server.runs.folder import RunFolder


class Population:
    """Counts the sites that could train, those of a resumed run included."""

    def __init__(self) -> None:
        self._sites: set[str] = set()
        self._before = 0

    def restore(self, run: RunFolder, state: Checkpoint) -> None:
        """Take up who could train in the rounds until a checkpoint.

        Raises:
            RunError: The run's record of them can't be used.
        """
        if state.round:
            unjudged = () if state.unjudged is None else state.unjudged.part.get("can_train", ())
            self._sites = run.participation().could_train | set(unjudged)

    def begin(self, sites: Iterable[str]) -> None:
        """Begin a round in which these sites can train."""
        self._before = len(self._sites)
        self._sites |= set(sites)

    def share(self, sites: int) -> float:
        """Return what share of all a number of sites is."""
        return sites / len(self._sites)

    @property
    def new(self) -> int:
        """How many could not train before this round."""
        return len(self._sites) - self._before

    @property
    def share_before(self) -> float:
        """The share of those that could train before this round; 1 where none is new, and in the first."""
        return self._before / len(self._sites) if self._before else 1.0
