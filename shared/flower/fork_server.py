"""Forks a process for each run from one that has loaded what a run needs.

A run's process takes seconds of a core to load PyTorch, MONAI and Flower; a fork of one that has loaded them
begins at once and shares their memory. The process that is forked never sees a run: it loads and waits.
"""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO

from shared.loading import loading

KEPT = 600.0
"""Seconds without a new run after which the memory is given back; the next run loads again."""

_BEGUN = "WARDROUND_BEGUN"  # in the environment: number of the pipe on which forks say that they have begun
_log = logging.getLogger("flwr")


class ForkServer:
    """The other end: starts the process that forks, when there is something to start.

    Each fork says first of all that it has begun. What was handed to a process that ended before is handed to
    another one.

    Args:
        command: Of a program that calls `fork_runs`.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._left: list[subprocess.Popen[bytes]] = []  # they wait for their runs to end
        self._waiting: list[str] = []  # tokens of runs that have not begun
        self._begun: IO[bytes] | None = None  # gives the tokens of those that have
        self._asked = 0.0

    def start(self, token: str) -> None:
        """Start a run's process.

        Args:
            token: Proves to Flower that it is the run's: travels over a pipe that nobody else reads.
        """
        self._asked = time.monotonic()
        self._waiting.append(token)
        if self._process is None or self._process.poll() is not None:
            self._start_process()
        else:
            self._hand([token])

    def look(self) -> None:
        """Let go of what nobody has needed for long, and of what has ended; start again what was killed."""
        ended = self._process is not None and self._process.poll() is not None
        self._note_begun(to_the_end=ended)
        if ended and self._waiting:
            _log.warning("what starts runs was killed, and is started again")
            self._start_process()
        idle = time.monotonic() - self._asked > KEPT and not self._waiting
        if self._process is not None and idle:
            _pipe(self._process).close()
            self._left.append(self._process)
            self._process = None
        self._left = [process for process in self._left if process.poll() is None]

    def _start_process(self) -> None:
        """Start the process that forks, and hand it all runs that have not begun."""
        self._note_begun(to_the_end=True)
        reads, writes = os.pipe()
        environment = os.environ | {_BEGUN: str(writes)}
        try:
            self._process = subprocess.Popen(  # noqa: S603 (ours)
                self._command, stdin=subprocess.PIPE, pass_fds=[writes], env=environment
            )
        finally:
            os.close(writes)
        os.set_blocking(reads, False)
        self._begun = open(reads, "rb", buffering=0)  # noqa: SIM115, PTH123 (of a pipe)
        self._hand(self._waiting)

    def _hand(self, tokens: Sequence[str]) -> None:
        assert self._process is not None  # noqa: S101 (started before)
        with suppress(BrokenPipeError):  # it is dying: the next look starts another
            _pipe(self._process).write("".join(f"{token}\n" for token in tokens).encode())
            _pipe(self._process).flush()

    def _note_begun(self, *, to_the_end: bool) -> None:
        """Forget the tokens of runs that have begun.

        Args:
            to_the_end: The process has ended: what it has forked says so at once, or has ended with it.
        """
        if self._begun is None:
            return
        os.set_blocking(self._begun.fileno(), to_the_end)
        said = self._begun.read()
        begun = set((said or b"").decode().split())
        self._waiting = [token for token in self._waiting if token not in begun]
        if to_the_end:
            self._begun.close()
            self._begun = None


def _pipe(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None  # noqa: S101 (asked for)
    return process.stdin


def fork_runs(run: Callable[[Path, str], None], socket: Path, modules: list[str]) -> None:
    """Load modules, then fork for each token that comes on standard input, until that ends.

    Args:
        run: What a fork does with the socket and its token; it ends with it.
        socket: Where the SuperLink listens.
        modules: What a run imports. One that can't be loaded is a run's to report. Where one has a function
            `note_end`, it is told the number of each process that has ended, and its exit code.
    """
    told: list[Callable[[int, int], None]] = []
    with loading(for_good=True):
        for module in modules:
            try:
                told.append(getattr(import_module(module), "note_end", _ignore))
            except Exception as error:
                _log.warning("%s can't be loaded ahead (%s)", module, error)
    signal.signal(signal.SIGCHLD, lambda *_: _reap(told, os.WNOHANG))
    on_ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this says when it ends
    begun = int(os.environ.pop(_BEGUN))
    with open(0, "rb", buffering=0, closefd=False) as tokens:  # unread, so that a fork finds no other run's
        while token := tokens.readline():
            if os.fork() == 0:
                os.write(begun, token)
                os.close(begun)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, on_ctrl_c)
                _close_stdin()
                run(socket, token.decode().strip())
                return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _reap(told, 0)


def _close_stdin() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _reap(told: Sequence[Callable[[int, int], None]], options: int) -> None:
    """Let go of forks that have ended, and say so.

    Args:
        told: Who hears of it.
        options: Of `os.waitpid`: 0 waits until the last one has ended.
    """
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, options))[0]:
            for tell in told:
                try:
                    tell(ended[0], os.waitstatus_to_exitcode(ended[1]))
                except Exception:
                    _log.exception("the end of process %d can't be noted", ended[0])


def _ignore(pid: int, code: int) -> None:
    """Hear of an end."""
