"""What happens in a run, as its progress display and its log see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """One thing that happened; `data` holds what there is to say about it."""

    kind: str
    round: int = 0
    site: str = ""
    phase: str = ""
    data: Mapping[str, float | int | str] = field(default_factory=dict)


Listener = Callable[[Event], None]
