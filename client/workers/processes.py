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
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import Any

import torch

from client.workers.calls import Call, Host, Outcome
from client.workers.pool import Died, Event, Link, Pool, worker_environment
from client.workers.process_main import serve
from client.workers.shared_tensors import Channel, SharedTensor


class ProcessLink(Link):
    """One worker process and the pipe to it."""

    def __init__(self, process: SpawnProcess, channel: Channel) -> None:
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
            message, tensors = self.channel.receive()
        except (EOFError, OSError):
            return Died(self._how_it_ended())
        return replace(message, tensors=tensors) if isinstance(message, Outcome) else message

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
    """Spawned processes: a forked one would inherit the parent's torch threads and CUDA context, broken."""

    def __init__(self, size: int, factory: Callable[[], Host], threads: int) -> None:
        self._pickled_factory = pickle.dumps(factory)
        super().__init__(size, factory, threads)

    def _start(self) -> ProcessLink:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=serve,
            args=(Channel(theirs), self._pickled_factory, self._threads),
            name="wardround-worker",
            daemon=True,
        )
        with _inherited(self._threads), _without_program():
            process.start()
        theirs.close()  # so that the worker's death shows as the end of the pipe
        return ProcessLink(process, Channel(ours))

    def _share(self, tensor: torch.Tensor) -> SharedTensor:
        return SharedTensor(tensor)

    def _events(self, links: Sequence[ProcessLink], timeout: float | None) -> list[tuple[ProcessLink, Event]]:
        by_pipe = {link.channel.connection: link for link in links}
        readable = connection.wait(list(by_pipe), timeout)
        return [(link, link.receive()) for pipe, link in by_pipe.items() if pipe in readable]


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
    environment = worker_environment(threads)
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
