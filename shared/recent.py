"""Things that are kept as long as few others are asked for."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Keeps what was asked for last.

    Args:
        most: How many things; what was asked for longest ago goes first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        """Return how many things are kept."""
        return len(self._kept)

    def __contains__(self, key: Key) -> bool:
        """Say whether a thing is kept."""
        return key in self._kept

    def __getitem__(self, key: Key) -> Value:
        """Return a thing that is kept; it is the newest now."""
        self._kept.move_to_end(key)
        return self._kept[key]

    def __setitem__(self, key: Key, value: Value) -> None:
        """Keep a thing."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
