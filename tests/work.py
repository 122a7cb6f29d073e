"""Work is counted, not timed: a count is the same on every machine."""

import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions are called and left in this thread, those of C too."""
    count = 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


class Operators(TorchDispatchMode):
    """Counts PyTorch's operators, and the numbers in memory that they return, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.numbers = 0

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = operator(*args, **(kwargs or {}))
        self.count += 1
        self.numbers += sum(
            leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and not leaf.is_meta
        )
        return result
