"""An audit log from its end: the newest entries, without reading more of it than is asked for."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from shared.audit.log import Entry, log_files, parse_entry

_BLOCK = 2**16  # bytes read from the end of a file at first


def newest_first(folder: Path, marks: Sequence[bytes] = ()) -> Iterator[Entry]:
    """Yield the entries of a log that can be read, the newest first; nothing is checked.

    Args:
        folder: Of the log.
        marks: What stands in the lines of the entries that are wanted, all of it, as the log spells it.
    """
    for line in lines_newest_first(folder):
        if all(mark in line for mark in marks):
            try:
                yield parse_entry(line)
            except ValueError:
                continue


def lines_newest_first(folder: Path) -> Iterator[bytes]:
    """Yield the whole lines of a log, the newest first; what a crash left of a line is none."""
    for path in reversed(log_files(folder)):
        yield from _lines_backwards(path)


def _lines_backwards(path: Path) -> Iterator[bytes]:
    """Yield the whole lines of a file, the last first."""
    with path.open("rb") as file:
        end, rest, torn = file.seek(0, os.SEEK_END), b"", True
        while end:
            start = max(0, end - _BLOCK)
            file.seek(start)
            lines = (file.read(end - start) + rest).split(b"\n")
            if torn and len(lines) > 1:  # behind the last line break: nothing, or what a crash left of a line
                lines.pop()
                torn = False
            rest, end = lines[0], start
            for line in reversed(lines[1:]):
                yield line + b"\n"
        if rest and not torn:
            yield rest + b"\n"
