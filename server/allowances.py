"""How many bytes each site may bring: as many as its answers to the questions of the runs in progress need.

The SuperLink holds whatever a site brings in memory. So the process of a run says what it waits for, and the
gateway takes no more; to a site that nothing was asked of it is closed.
"""

from collections.abc import Hashable, Mapping

_AGAIN = 16 * 2**20  # bytes beyond an answer: what was sent again as its receipt was lost on the way


class Allowances:
    """What is still to come, by run and site."""

    def __init__(self) -> None:
        self._left: dict[Hashable, dict[str, int]] = {}

    def allow(self, run: Hashable, answers: Mapping[str, int]) -> None:
        """Say what a run waits for, in place of what it waited for before.

        Args:
            run: Whatever tells runs apart.
            answers: The largest answer, in bytes, of each site that was asked.
        """
        self._left[run] = {site: size + min(size, _AGAIN) for site, size in answers.items()}

    def end(self, run: Hashable) -> None:
        """Say that a run has ended."""
        self._left.pop(run, None)

    def charge(self, site: str) -> "Charge":
        """Return what counts the bytes of one request of a site."""
        return Charge([left for left in self._left.values() if site in left], site)


class Charge:
    """The bytes of one request, taken from what the site may bring to any of the runs.

    Attributes:
        whole: The request came to its end, so that the SuperLink may keep it.
    """

    def __init__(self, accounts: list[dict[str, int]], site: str) -> None:
        self._accounts = accounts
        self._site = site
        self._taken = [0] * len(accounts)
        self.whole = False

    @property
    def is_open(self) -> bool:
        """Whether any run waits for an answer of the site."""
        return bool(self._accounts)

    @property
    def left(self) -> int:
        """Bytes that may still come."""
        return sum(account[self._site] for account in self._accounts)

    def take(self, count: int) -> bool:
        """Take bytes; says False, and takes nothing, where so many are not left."""
        if count > self.left:
            return False
        for index, account in enumerate(self._accounts):
            part = min(count, account[self._site])
            account[self._site] -= part
            self._taken[index] += part
            count -= part
        return True

    def close(self) -> None:
        """End the request: one that was broken off is given back."""
        if not self.whole:
            self.give_back()

    def give_back(self) -> None:
        """Count the request as one that never came: the SuperLink has kept nothing of it."""
        for index, account in enumerate(self._accounts):
            account[self._site] += self._taken[index]
            self._taken[index] = 0
