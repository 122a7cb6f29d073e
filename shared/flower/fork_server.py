"""Forks a process for each run from one that has loaded what a run needs.

A run's process takes seconds of a core to load PyTorch, MONAI and Flower; a fork of one that has loaded them
begins at once and shares their memory. The process that is forked never sees a run: it loads and waits.
"""

import gc
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO

KEPT = 600.0
"""Seconds without a new run after which the memory is given back; the next run loads again."""

_log = logging.getLogger("flwr")


class ForkServer:
    """The other end: starts the process that forks, when there is something to start.

    Args:
        command: Of a program that calls `fork_runs`.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._left: list[subprocess.Popen[bytes]] = []  # they wait for their runs to end
        self._asked = 0.0

    def start(self, token: str) -> None:
        """Start a run's process.

        Args:
            token: Proves to Flower that it is the run's: travels over a pipe that nobody else reads.
        """
        self._asked = time.monotonic()
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)  # noqa: S603 (ours)
        _pipe(self._process).write(f"{token}\n".encode())
        _pipe(self._process).flush()

    def look(self) -> None:
        """Let go of what nobody has needed for long, and of what has ended."""
        if self._process is not None and time.monotonic() - self._asked > KEPT:
            _pipe(self._process).close()
            self._left.append(self._process)
            self._process = None
        self._left = [process for process in self._left if process.poll() is None]


def _pipe(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None  # noqa: S101 (asked for)
    return process.stdin


def fork_runs(run: Callable[[Path, str], None], socket: Path, modules: list[str]) -> None:
    """Load modules, then fork for each token that comes on standard input, until that ends.

    Args:
        run: What a fork does with the socket and its token; it ends with it.
        socket: Where the SuperLink listens.
        modules: What a run imports. One that can't be loaded is a run's to report.
    """
    for module in modules:
        try:
            import_module(module)
        except Exception as error:
            _log.warning("%s can't be loaded ahead (%s)", module, error)
    gc.collect()
    gc.freeze()  # so that the collector of a fork leaves the shared memory shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets those that have ended
    on_ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this says when it ends
    with open(0, "rb", buffering=0, closefd=False) as tokens:  # unread, so that a fork finds no other run's
        while token := tokens.readline():
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, on_ctrl_c)
                _close_stdin()
                run(socket, token.decode().strip())
                return
    _await_forks()


def _close_stdin() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _await_forks() -> None:
    with suppress(ChildProcessError):
        os.wait()  # until the last one has ended, as their ends are ignored
