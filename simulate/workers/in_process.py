"""No workers at all: calls run in the caller's process, one by one. For debugging, and for one core."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from client.workers.calls import Call, Host, Outcome, Workers, answer


class InProcess(Workers):
    """Runs one call each time that the caller waits; a timeout can't interrupt it."""

    def __init__(self, factory: Callable[[], Host], threads: int) -> None:
        self.size = 1
        self._threads = threads
        self._pending: deque[Call] = deque()
        start = time.monotonic()
        with _threads(threads):
            self._host = factory()
        self.startup_seconds = time.monotonic() - start

    def warm_up(self) -> None:
        """Do nothing: the host was built when the workers were opened."""

    def submit(self, calls: Sequence[Call]) -> None:
        """Queue calls for the next waits."""
        self._pending.extend(calls)

    def wait(self, timeout: float | None) -> list[Outcome]:
        """Run the next call and return its outcome."""
        if not self._pending:
            return []
        with _threads(self._threads):
            return [answer(self._host, self._pending.popleft())]

    def cancel(self) -> None:
        """Forget the calls that have not been run."""
        self._pending.clear()

    def close(self) -> None:
        """Forget the calls that have not been run."""
        self._pending.clear()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
