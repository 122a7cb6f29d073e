"""Work that goes on behind the caller's back, such as writing to a slow disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self

P = ParamSpec("P")


class Background:
    """Does one task at a time, in order, in a thread; a context manager that ends when the last is done."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._task: Future[None] | None = None

    def do(self, task: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Start a task once the one before is done; raises what that one raised, and starts nothing then."""
        self.wait()
        self._task = self._thread.submit(task, *args, **kwargs)

    def wait(self) -> None:
        """Block until the task is done; raises what it raised."""
        if self._task is not None:
            self._task.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if kind is None:
            self.wait()
