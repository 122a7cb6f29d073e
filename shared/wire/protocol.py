"""Which versions of the protocol between sites and coordinator this program speaks, and how it says so.

A site names its version, and the oldest and newest protocol that it speaks, with every request. The
coordinator turns away one with which it has none in common; who names none is from before there were numbers.
"""

import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import Self

OLDEST, NEWEST = 1, 1
_SAID = re.compile(
    r"wardround/(?P<version>[0-9A-Za-z.+-]{1,32})( protocol/(?P<oldest>\d{1,4})-(?P<newest>\d{1,4}))?"
)


@dataclass(frozen=True)
class Speaks:
    """What a program says of itself.

    Attributes:
        version: Of Wardround.
        oldest: Protocol that it speaks.
        newest: The same.
    """

    version: str
    oldest: int
    newest: int

    @classmethod
    def own(cls) -> Self:
        """Return what this program speaks."""
        return cls(version("wardround"), OLDEST, NEWEST)

    @classmethod
    def heard(cls, said: str) -> Self:
        """Read what another one says; what can't be read names no version, and the first protocol."""
        found = _SAID.fullmatch(said)
        if found is None:
            return cls("", 1, 1)
        return cls(found["version"], int(found["oldest"] or 1), int(found["newest"] or 1))

    def __str__(self) -> str:
        """Return what it says: ``wardround/0.2.0 protocol/1-1``."""
        return f"wardround/{self.version} protocol/{self.oldest}-{self.newest}"

    def understands(self, other: "Speaks") -> bool:
        """Say whether both speak one protocol."""
        return self.oldest <= other.newest and other.oldest <= self.newest
