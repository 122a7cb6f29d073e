"""How far a long preparation is: a bar on a terminal, lines in a log."""

import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)
_SOON = 2.0  # seconds: what takes less shows nothing
_EVERY = 60.0  # seconds between two lines


@contextmanager
def shown(total: int) -> Iterator[Callable[[], None]]:
    """Give a function to call, from any thread, after each sample."""
    if sys.stderr.isatty() and multiprocessing.parent_process() is None:  # workers would draw over each other
        with _bar(total) as done:
            yield done
        return
    yield _Lines(total).done


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    from rich.console import Console  # noqa: PLC0415 (a service needs none of it)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415

    columns = ("Preparing", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


class _Lines:
    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._next = time.monotonic() + _SOON

    def done(self) -> None:
        """Count one more, and say so now and then."""
        self._done += 1
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY
            _log.info("prepared %d of %d samples", self._done, self._total)
