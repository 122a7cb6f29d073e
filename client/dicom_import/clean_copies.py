"""De-identified copies of many files: by several processes, where a series has files enough."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from client.data.line_processes import LineProcesses
from client.dicom_import.deidentify import deidentify
from client.dicom_import.pseudonyms import Pseudonyms
from shared.errors import DataError

PROCESS = "client.dicom_import.copy_process"
_WORTH_IT = 16  # files of a series from which processes are asked
_PART = ".part"
Pairs = Sequence[tuple[str, str]]
"""From where to where."""
Cleaner = Callable[[Pairs], None]


@contextmanager
def cleaner(names: Pseudonyms, processes: int) -> Iterator[Cleaner]:
    """Give what copies files; it raises a DataError without a place where one of them can't be copied.

    Args:
        names: The hospital's pseudonyms.
        processes: How many copy side by side.
    """
    first, remedy = {"key": names.secret}, "Was there too little memory? --processes"
    with LineProcesses(PROCESS, first, remedy) as pool, ThreadPoolExecutor(processes) as threads:

        def ask(pairs: Pairs) -> str | None:
            try:
                return pool.ask({"pairs": pairs})["problem"]
            except DataError as error:
                raise DataError(error.problem, where="a process of the import", remedy=error.remedy) from None

        def copy(pairs: Pairs) -> None:
            if processes < 2 or len(pairs) < _WORTH_IT:
                problems = [copy_all(pairs, names)]
            else:
                problems = list(threads.map(ask, [pairs[begin::processes] for begin in range(processes)]))
            for problem in filter(None, problems):
                raise DataError(problem)

        yield copy


def copy_all(pairs: Pairs, names: Pseudonyms) -> str | None:
    """Copy files; return why one of them can't be copied.

    Raises:
        OSError: A copy can't be written.
    """
    for source, target in pairs:
        try:
            with part(Path(target), names.version(source)) as file:
                deidentify(Path(source), file, names)
        except DataError as error:
            return f"holds a file that {error.problem}"
        except OSError:
            raise
        except Exception as error:  # whatever a library raises on an element that is none
            return f"holds a file that can't be copied without what identifies ({type(error).__name__})"
    return None


@contextmanager
def part(path: Path, version: int) -> Iterator[IO[bytes]]:
    """Give a new file that is in its place, whole and on the disk, when all is written.

    Args:
        path: Its place.
        version: Its time of change, nanoseconds since 1970, by which it is known again.
    """
    waiting = path.with_name(f".{path.name}{_PART}")
    try:
        with os.fdopen(os.open(waiting, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        os.utime(waiting, ns=(version, version))
        waiting.replace(path)
    finally:
        waiting.unlink(missing_ok=True)


def answer(names: Pseudonyms) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what a process answers with."""

    def reply(question: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"problem": copy_all(question["pairs"], names)}
        except OSError as error:
            raise DataError(f"can't be written ({error.strerror})", where=error.filename) from None

    return reply
