"""Warm worker processes on this machine."""

import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import connection, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from client.workers.calls import Call, Host, Outcome
from client.workers.pool import Died, Event, Link, Pool, worker_environment
from client.workers.process_main import serve
from client.workers.shared_arrays import Channel, SharedArray


class ProcessLink(Link):
    """One worker process and the pipe to it."""

    def __init__(self, process: BaseProcess, channel: Channel) -> None:
        self.process = process
        self.channel = channel

    def send(self, call: Call, shared: Mapping[str, Any]) -> None:
        """See the base class."""
        try:
            self.channel.send(call, shared)
        except OSError:
            self.process.kill()  # it is dying: let the pipe's end show it

    def receive(self) -> Event:
        """Return what the process sent, or how it ended."""
        try:
            message, arrays = self.channel.receive()
        except (EOFError, OSError):
            return Died(self._how_it_ended())
        return replace(message, arrays=arrays) if isinstance(message, Outcome) else message

    def kill(self) -> None:
        """See the base class."""
        self.process.kill()
        self.process.join()
        self.channel.close()

    def _how_it_ended(self) -> str:
        self.process.join(timeout=1.0)
        code = self.process.exitcode
        if code is None:
            return "closed its pipe"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


class ProcessPool(Pool[ProcessLink]):
    """Processes that inherit nothing from this one: its torch threads and CUDA context would be broken.

    Several are forked from a process that has loaded what they need, and has done nothing else: loading takes
    seconds of a core, and the memory is shared. A single one is spawned.
    """

    def __init__(self, size: int, factory: Callable[[], Host], threads: int) -> None:
        self._pickled_factory = pickle.dumps(factory)
        self._context = _fork_server(threads) if size > 1 else multiprocessing.get_context("spawn")
        super().__init__(size, factory, threads)

    def _start(self) -> ProcessLink:
        ours, theirs = multiprocessing.Pipe()
        with _inherited(self._threads), _without_program():
            process = self._context.Process(
                target=serve,
                args=(Channel(theirs), self._pickled_factory, self._threads, dict(os.environ)),
                name="wardround-worker",
                daemon=True,
            )
            process.start()
        theirs.close()  # so that the worker's death shows as the end of the pipe
        return ProcessLink(process, Channel(ours))

    def _share(self, array: NDArray[Any]) -> SharedArray:
        return SharedArray(array)

    def _events(self, links: Sequence[ProcessLink], timeout: float | None) -> list[tuple[ProcessLink, Event]]:
        by_pipe = {link.channel.connection: link for link in links}
        readable = connection.wait(list(by_pipe), timeout)
        return [(link, link.receive()) for pipe, link in by_pipe.items() if pipe in readable]


_LOADED = "client.work.loaded_ahead"
_threads_of_server: int | None = None


def _fork_server(threads: int) -> ForkServerContext | SpawnContext:
    """Return what forks workers; Python has one such process, and the number of threads is fixed in it."""
    global _threads_of_server  # noqa: PLW0603 (as is Python's)
    _threads_of_server = _threads_of_server or threads
    if threads != _threads_of_server:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_LOADED])
    return context


@contextmanager
def _without_program() -> Iterator[None]:
    """Keep a new process from running the caller's script once more, which it needs nothing of.

    `spawn` imports it there; a script that simulates without `if __name__ == "__main__":` would start again.
    """
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


@contextmanager
def _inherited(threads: int) -> Iterator[None]:
    """Set what a new process inherits: its environment, and no Ctrl-C.

    The parent alone answers Ctrl-C: it closes the workers, which would otherwise each print a traceback.
    """
    # Who asks how many GPUs there are asks their driver: to ask CUDA would break it in what is forked later.
    environment = worker_environment(threads) | {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    before = {name: os.environ.get(name) for name in environment}
    resource_tracker.ensure_running()  # its start, else part of the first worker's, unblocks SIGINT
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
