"""Two programs take turns on one machine, twice a second, so that its changes of speed meet both alike.

Each has all of the machine while the other is stopped (SIGSTOP). What it took is its wall time without the
time in which it was stopped.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event
from typing import Any, Generic, TypeVar

import psutil
from common import send_result

SLICE = 0.5  # seconds

T = TypeVar("T")
U = TypeVar("U")
Span = tuple[float, float]
"""When something began and ended, by the monotonic clock."""


class Program(Generic[T]):
    """A function in a fresh process.

    Args:
        function: Called with the arguments and an event, which it sets or waits for when what counts begins.
        arguments: Before the event.
        go: The event.
    """

    def __init__(self, function: Callable[..., T], arguments: Sequence[Any], go: Event) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=send_result, args=(theirs, function, (*arguments, go)))
        self._process.start()
        theirs.close()
        self.stopped: list[Span] = []
        self._since: float | None = None

    def is_done(self, within: float | None = 0.0) -> bool:
        """Wait some seconds at most (None: for ever) for a result, or an end without; say if it is there."""
        return bool(wait([self._pipe, self._process.sentinel], within))

    def stop(self) -> None:
        """Stop the process and all its descendants."""
        self._since = time.monotonic()
        self._signal("suspend")

    def resume(self) -> None:
        """Let them go on."""
        self._signal("resume")
        if self._since is not None:
            self.stopped.append((self._since, time.monotonic()))
            self._since = None

    def result(self) -> T:
        """Return what the function returned.

        Raises:
            RuntimeError: It ended without that; its traceback is on the standard error.
        """
        try:
            result: T = self._pipe.recv()
        except EOFError:
            raise RuntimeError("a program failed") from None
        finally:
            self._process.join()
        return result

    def seconds(self, span: Span) -> float:
        """Return how long something took, without the time in which the process was stopped."""
        begin, end = span
        stopped = sum(max(0.0, min(b, end) - max(a, begin)) for a, b in self.stopped)
        return end - begin - stopped

    def _signal(self, what: str) -> None:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._process.pid)
            getattr(root, what)()  # first: it can start no others then
            for process in root.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    getattr(process, what)()


def duel(first: Program[T], second: Program[U], go: Event) -> tuple[T, U]:
    """Let two programs take turns from `go` on, and return their results."""
    while not go.wait(1.0):
        if first.is_done() or second.is_done():
            break
    running, waiting = first, second
    waiting.stop()
    while not running.is_done(SLICE):
        running.stop()
        waiting.resume()
        running, waiting = waiting, running
    running.stop()  # its end must not disturb the other's
    waiting.resume()
    waiting.is_done(None)
    running.resume()
    return first.result(), second.result()
