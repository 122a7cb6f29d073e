"""The headers of all files, read by several processes and put into the index, in the order of the files."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from client.data.line_processes import LineProcesses
from client.dicom_import.archives import ArchiveError, members
from client.dicom_import.headers import header_of, read_header
from client.dicom_import.index import UNSURE, Entry, Index
from client.dicom_import.sources import Found, walk
from shared.errors import DataError

PROCESS = "client.dicom_import.header_process"
_BATCH = 64  # files that a process reads, and that are put into the index at once
_WAITING = 4  # batches of each process that are asked for ahead
_WORTH_IT = 512  # files from which a process is worth its start
ARCHIVE = "an archive, whose files are counted by themselves"
_TOO_LARGE = "has a header for which there was too little memory"
Seen = Callable[[int], None]
"""Called with how many files were looked at since."""


def scan(sources: Sequence[Path], index: Index, processes: int, seen: Seen) -> None:
    """Look at every file below the sources that the index does not know as it is.

    Raises:
        DataError: The index can't be written.
    """
    for source in sources:
        archives: list[Found] = []
        _scan_files(_news(source, index, archives, seen), index, processes, seen)
        for archive in archives:
            _scan_archive(archive, index, seen)


def _news(source: Path, index: Index, archives: list[Found], seen: Seen) -> Iterator[Found]:
    for found in walk(source):
        if index.knows("", found.path, found.size, found.modified):
            seen(1)
        elif found.is_archive and not found.problem:
            archives.append(found)
        else:
            yield found


def _scan_files(news: Iterator[Found], index: Index, processes: int, seen: Seen) -> None:
    first = list(islice(news, _WORTH_IT))
    if len(first) < _WORTH_IT or processes < 2:
        for batch in _batches(_chained(first, news)):
            _put(index, batch, read_batch([found.path for found in batch if not found.problem]), seen)
        return
    with (
        LineProcesses(PROCESS, {}, "Was there too little memory? --processes") as pool,
        ThreadPoolExecutor(processes) as threads,
    ):
        waiting: deque[tuple[list[Found], Future[dict[str, Any]]]] = deque()
        for batch in _batches(_chained(first, news)):
            paths = [found.path for found in batch if not found.problem]
            waiting.append((batch, threads.submit(pool.ask, {"paths": paths})))
            if len(waiting) >= _WAITING * processes:
                done, answer = waiting.popleft()
                _put(index, done, answer.result()["headers"], seen)
        for done, answer in waiting:
            _put(index, done, answer.result()["headers"], seen)


def read_batch(paths: Iterable[str]) -> list[Any]:
    """Return the header of each file, or what is wrong with it as a text."""
    return [_header_or_problem(path) for path in paths]


def _header_or_problem(path: str) -> Any:
    """Return a header, or what is wrong: a text, in a list where it may be of this moment alone."""
    try:
        return header_of(Path(path))
    except DataError as error:
        return error.problem
    except OSError as error:
        return [f"can't be read ({error.strerror})"]
    except MemoryError:
        return [_TOO_LARGE]


def _put(index: Index, batch: Sequence[Found], headers: Sequence[Any], seen: Seen) -> None:
    told = iter(headers)
    entries = []
    for found in batch:
        answer = found.problem or next(told)
        if isinstance(answer, list):
            entries.append(Entry("", found.path, found.size, UNSURE, answer[0]))
            continue
        problem, header = (answer, None) if isinstance(answer, str) else ("", answer)
        entries.append(Entry("", found.path, found.size, found.modified, problem, header))
    index.add(entries)
    seen(len(entries))


def _scan_archive(found: Found, index: Index, seen: Seen) -> None:
    """Look at the members of an archive, all of them again where that was stopped."""
    archive = found.path
    index.forget(archive)
    problem, modified = "", found.modified
    try:
        for batch in _batches(_of_members(Path(found.path), archive)):
            index.add(batch)
            seen(len(batch))
    except ArchiveError as error:
        problem = error.problem
    except OSError as error:
        problem, modified = f"can't be read ({error.strerror})", UNSURE
    except MemoryError:
        problem, modified = _TOO_LARGE, UNSURE
    if problem:
        index.forget(archive)
    index.add([Entry("", archive, found.size, modified, problem or ARCHIVE)])


def _of_members(path: Path, archive: str) -> Iterator[Entry]:
    for name, size, opened in members(path):
        try:
            with opened() as file:
                yield Entry(archive, name, size, 0, header=read_header(file, size))
        except ArchiveError:
            raise
        except DataError as error:
            yield Entry(archive, name, size, 0, error.problem)


def _chained(first: list[Found], others: Iterator[Found]) -> Iterator[Found]:
    yield from first
    yield from others


def _batches(items: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(items, _BATCH)):
        yield batch
