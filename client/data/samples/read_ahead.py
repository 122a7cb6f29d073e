"""The next batches are read, cropped and augmented while the last one is trained on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_THREADS = 2
_AHEAD = 3  # batches

Asked = TypeVar("Asked")
Loaded = TypeVar("Loaded")


def ahead(load: Callable[[Asked], Loaded], asked: Iterable[Asked]) -> Iterator[Loaded]:
    """Yield what is loaded for each that is asked, in that order, some of it before its turn.

    Nothing of a result may depend on when it is loaded: each batch has seeds of its own.

    Args:
        load: Called in threads.
        asked: Read no further than what is loaded ahead.

    Raises:
        Exception: What `load` raised, at its turn.
    """
    waiting: deque[Future[Loaded]] = deque()
    pool = ThreadPoolExecutor(_THREADS, "ahead")
    source = iter(asked)
    try:
        waiting.extend(pool.submit(load, one) for one in islice(source, _AHEAD))
        while waiting:
            found = waiting.popleft().result()
            waiting.extend(pool.submit(load, one) for one in islice(source, 1))
            yield found
    finally:
        pool.shutdown(cancel_futures=True)
