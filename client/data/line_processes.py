"""Processes that work for threads of this one: a line of JSON goes in, one comes out; they end with it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from shared.errors import DataError


class LineProcesses:
    """One process for each thread that asks, started when it first does.

    Args:
        module: Of this program; its main calls `serve`.
        first: What each process is told before all else.
        remedy: Where one ends without an answer.
    """

    def __init__(self, module: str, first: Mapping[str, Any], remedy: str) -> None:
        self._module, self._first, self._remedy = module, first, remedy
        self._own = threading.local()
        self._all: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._all:
            process.kill()
            process.communicate()

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return what this thread's own process answers.

        Raises:
            DataError: What it met, or it ended.
        """
        try:
            if not hasattr(self._own, "process"):
                self._own.process = self._start()
            process = self._own.process
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise DataError("the process that prepared it ended", remedy=self._remedy)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            problem, where, remedy = answer["error"]
            raise DataError(problem, where=where, remedy=remedy)
        return answer

    def _start(self) -> "subprocess.Popen[str]":
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": "1",
        }
        process = subprocess.Popen(  # noqa: S603 (this program's own module)
            [sys.executable, "-P", "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._all.append(process)
        assert process.stdin is not None  # noqa: S101 (it was asked for)
        process.stdin.write(json.dumps(self._first) + "\n")
        return process


def serve(prepare: Callable[[dict[str, Any]], Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
    """Answer until the process that asks closes the pipe, or is gone.

    Args:
        prepare: Makes of the first line what answers the others.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks ends this
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is not an answer
    reply = prepare(json.loads(sys.stdin.readline()))
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            answers.write(json.dumps(_answer(reply, line)) + "\n")
            answers.flush()


def _answer(reply: Callable[[dict[str, Any]], dict[str, Any]], line: str) -> dict[str, Any]:
    try:
        return reply(json.loads(line))
    except DataError as error:
        return {"error": [error.problem, error.where and str(error.where), error.remedy]}
