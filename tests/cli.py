"""The command line, run in the test's own process: to import PyTorch takes longer than most commands do."""

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import Any

import pytest

from wardround.cli import main

PROJECT = Path(__file__).parents[1]


def wardround(
    *arguments: object, stdin: str = "", cwd: Path = PROJECT, environment: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Run a command and return what a process that runs it would leave.

    Args:
        arguments: What stands behind `wardround`.
        stdin: What the user types.
        cwd: Where it runs.
        environment: Variables that are set for it.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8"))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.chdir(cwd)
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        code = _exit_code([str(argument) for argument in arguments])
    said, complained = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    return CompletedProcess(arguments, code, said, complained)


def _exit_code(arguments: list[str]) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@contextmanager
def started(command: Sequence[object], **options: Any) -> Iterator[Popen[str]]:
    """Start a program that serves until it is told to end; a test that fails leaves none behind.

    Args:
        command: The program and its arguments.
        options: Of `Popen`.
    """
    with Popen([str(part) for part in command], text=True, **options) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
